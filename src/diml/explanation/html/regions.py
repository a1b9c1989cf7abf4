"""Regions of an image as SVG: outlined in their colour and numbered, with the rest of the image faded."""

from __future__ import annotations

from collections.abc import Sequence

from diml.explanation.outlines import CellGrid, outline
from diml.explanation.region_marks import RegionMark


def region_shapes(
    of: CellGrid,
    marks: Sequence[RegionMark],
    frame: str,
    unit: float,
    unmatched: Sequence[tuple[int, int]] = (),
) -> str:
    """The shapes to lay over an image.

    Args:
        of: where its cells lie, in units of the drawing.
        marks: the regions.
        frame: the path data of the whole image.
        unit: the width of a thin line in units of the drawing.
        unmatched: cells to hatch, by the pattern `hatch` of the page.
    """
    shown = [mark for mark in marks if mark.cells]
    kept = path_data(of, [cell for mark in shown for cell in mark.cells])
    shapes = [f'<path class="fade" fill-rule="evenodd" d="{frame}{kept}"/>']
    if unmatched:
        shapes.append(f'<path class="unmatched" fill="url(#hatch)" d="{path_data(of, unmatched)}"/>')
    for mark in reversed(shown):
        tag, data = mark.tag, path_data(of, mark.cells, 1.5 * unit)
        dashes = f' stroke-dasharray="{4 * unit:.3g} {3 * unit:.3g}"' if tag.dashed else ""
        style = f'fill="none" stroke-linejoin="miter"{dashes} d="{data}"'
        shapes.append(
            f'<path class="halo" stroke="{tag.ink}" stroke-width="{3.4 * unit:.3g}" {style}/>'
            f'<path class="region" stroke="{tag.colour}" stroke-width="{2.2 * unit:.3g}" {style}/>'
        )
    return "".join(shapes) + "".join(_number(of, mark, unit) for mark in shown)


def path_data(of: CellGrid, cells: Sequence[tuple[int, int]], inset: float = 0.0) -> str:
    """The outline of cells as SVG path data."""
    loops = outline(cells, of, (inset, inset))
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in loop) + "Z" for loop in loops)


def _number(of: CellGrid, mark: RegionMark, unit: float) -> str:
    x0, y0, _, _ = of.box(min(mark.cells))
    x, y, tag = x0 + 8.5 * unit, y0 + 8.5 * unit, mark.tag
    return (
        f'<g class="disc"><circle cx="{x:.1f}" cy="{y:.1f}" r="{6.5 * unit:.3g}" fill="{tag.colour}" '
        f'stroke="{tag.ink}" stroke-width="{unit:.3g}"/>'
        f'<text class="number" x="{x:.1f}" y="{y:.1f}" dy=".35em" fill="{tag.ink}" '
        f'font-size="{9 * unit:.3g}">{tag.number}</text></g>'
    )


def hatching(unit: float) -> str:
    """The pattern `hatch`, to be defined once in a page."""
    side = 5 * unit
    return (
        f'<pattern id="hatch" width="{side:.3g}" height="{side:.3g}" patternUnits="userSpaceOnUse" '
        f'patternTransform="rotate(45)"><path class="stripe" d="M0 0V{side:.3g}" stroke-width="{2 * unit:.3g}"/>'
        "</pattern>"
    )
