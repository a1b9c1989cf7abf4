"""The hits of a search as one self-contained HTML page, without requests and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diml.explanation.frame import Frame
from diml.explanation.hits import (
    SearchedImage,
    composition,
    hit_marks,
    hit_regions,
    hit_size,
    hit_unmatched,
    reading,
    share_text,
)
from diml.explanation.html.page import fill, image_uri, jpeg_uri, template, text
from diml.explanation.html.regions import hatching, region_shapes
from diml.explanation.images import NO_IMAGE, blank
from diml.explanation.marks import Box, Mark, Size, inset, spread
from diml.explanation.numbers import check_parts
from diml.explanation.outlines import CellGrid
from diml.explanation.pair_words import pair_lines
from diml.explanation.words import digits, number, signed

if TYPE_CHECKING:
    from diml.feature_maps import FeatureMaps
    from diml.search import Hit, SearchResult

# Units of the drawing of one hit; the browser scales it.
QUERY, GAP, FOUND = 130.0, 30.0, 190.0
WIDE = QUERY + GAP + FOUND
QUERY_PIXELS = 320
# Pairs of parts that are listed beneath the regions.
DEEPER = 6


def hits_page(result: SearchResult, parts: int | None = None) -> str:
    """A self-contained HTML page of the hits of a search, for wide and narrow screens.

    Args:
        result: of a search.
        parts: draw so many of the strongest pairs of parts of each hit in place of the regions, from 1.

    Returns:
        The page; `draw_hits(result, "hits.html")` writes it.

    Raises:
        UsageError: `parts` is below 1.
    """
    if parts is not None:
        check_parts(parts)
    query = SearchedImage.of(result)
    values = {
        "name": text(query.title),
        "hatching": hatching(1.0),
        "data": image_uri(query.picture or blank(), QUERY_PIXELS),
        "found": text(_found(result)),
        "reading": text(reading(result, parts)),
        "cards": "\n".join(_card(hit, query, parts) for hit in result),
    }
    return fill(template("hits.html"), values)


def _found(result: SearchResult) -> str:
    index = Path(result.index).name
    return f"{len(result)} image{'' if len(result) == 1 else 's'}" + (f" from {index}" if index else "")


def _card(hit: Hit, query: SearchedImage, parts: int | None) -> str:
    label = "" if hit.label is None else f'<p class="label"><bdi>{text(hit.label)}</bdi></p>'
    shown = hit_marks(hit, query.size, DEEPER if parts is None else parts)
    drawn = _drawing(hit, query, shown) if parts else _region_drawing(hit, query)
    below = _contributions(shown) if parts else _shares(hit)
    fold = "" if parts else f"<details><summary>Strongest pairs of parts</summary>{_pair_lines(shown)}</details>"
    return (
        f'<li><p class="head"><span class="rank">{hit.rank}</span> <strong>{number(hit.similarity)}</strong>'
        f' <span class="faint">{composition(hit, " · ")}</span></p>\n'
        f'{drawn}\n{label}<p class="faint path"><bdi>{text(hit.path)}</bdi></p>'
        f'<p class="faint">{below}</p>{fold}</li>'
    )


def _shares(hit: Hit) -> str:
    return " ".join(
        f'<span class="pair"><b style="background:{mark.tag.colour};color:{mark.tag.ink}">{mark.tag.number}</b>'
        f" {share_text(mark, hit)}</span>"
        for mark in hit_regions(hit)
    )


def _pair_lines(shown: list[Mark]) -> str:
    return "".join(f"<p>{text(line.strip())}</p>" for line in pair_lines([mark.pair for mark in shown]))


def _contributions(shown: list[Mark]) -> str:
    places = digits(max(abs(mark.pair.contribution) for mark in shown))
    return " ".join(
        f'<span class="pair"><b style="background:{mark.colour};color:{mark.ink}">{mark.number}</b>'
        f" {signed(mark.pair.contribution, places)}</span>"
        for mark in shown
    )


def _drawing(hit: Hit, query: SearchedImage, shown: list[Mark]) -> str:
    left, right, tall = _frames(hit, query)
    marked = "".join(_mark(mark, left, right) for mark in reversed(shown))
    return _both(hit, query, (left, right, tall), marked, "the parts that contributed most are boxed")


def _region_drawing(hit: Hit, query: SearchedImage) -> str:
    left, right, tall = _frames(hit, query)
    regions = hit_regions(hit)
    sides = (
        (hit.match.maps_a, left, [mark.a for mark in regions]),
        (hit.match.maps_b, right, [mark.b for mark in regions]),
    )
    marked = "".join(
        region_shapes(_in_frame(maps, frame), marks, _path_of(frame), 1.0, unmatched)
        for (maps, frame, marks), unmatched in zip(sides, hit_unmatched(hit), strict=True)
    )
    return _both(hit, query, (left, right, tall), marked, "the regions that correspond are outlined")


def _in_frame(maps: FeatureMaps, frame: Frame) -> CellGrid:
    """Where the cells of an image lie in the drawing."""
    boxes = CellGrid.of(maps, frame.size).boxes
    return CellGrid(maps.grid, [(*frame.at(x0, y0), *frame.at(x1, y1)) for x0, y0, x1, y1 in boxes])


def _path_of(frame: Frame) -> str:
    return f"M{frame.x:.1f} {frame.y:.1f}h{frame.width:.1f}v{frame.height:.1f}h{-frame.width:.1f}Z"


def _frames(hit: Hit, query: SearchedImage) -> tuple[Frame, Frame, float]:
    """The places of the query and of the hit, and the height of the drawing."""
    size = hit_size(hit)
    tall = max(_fitted(query.size, QUERY)[1], _fitted(size, FOUND)[1])
    return _frame(query.size, 0, QUERY, tall), _frame(size, QUERY + GAP, FOUND, tall), tall


def _both(hit: Hit, query: SearchedImage, frames: tuple[Frame, Frame, float], marked: str, what: str) -> str:
    left, right, tall = frames
    alt = f"Hit {hit.rank}: {hit.path}, similarity {number(hit.similarity)}, beside the query; {what}"
    chosen = "".join(f'<rect class="{kind}" {_box(box, left)}/>' for box in query.chosen for kind in ("lift", "chosen"))
    return (
        f'<svg viewBox="-8 -4 {WIDE + 16:g} {tall + 8:.1f}" role="img" aria-label="{text(alt)}">'
        f'<use href="#query" transform="translate({left.x:.1f} {left.y:.1f})'
        f' scale({left.width:.1f} {left.height:.1f})"/>'
        f"{_thumbnail(hit, right)}"
        f'<rect class="edge" {_rectangle(left)}/><rect class="edge" {_rectangle(right)}/>{marked}{chosen}</svg>'
    )


def _thumbnail(hit: Hit, frame: Frame) -> str:
    if hit.thumbnail:
        return f'<image href="{jpeg_uri(hit.thumbnail)}" {_rectangle(frame)} preserveAspectRatio="none"/>'
    x, y = frame.x + frame.width / 2, frame.y + frame.height / 2
    return f'<rect class="blank" {_rectangle(frame)}/><text class="none" x="{x:.1f}" y="{y:.1f}">{NO_IMAGE}</text>'


def _fitted(size: Size, side: float) -> tuple[float, float]:
    """Width and height of an image in a square of that side; extreme shapes keep a visible width."""
    scale = side / max(size)
    return max(size[0] * scale, 3.0), max(size[1] * scale, 3.0)


def _frame(size: Size, x: float, side: float, tall: float) -> Frame:
    width, height = _fitted(size, side)
    return Frame(x + (side - width) / 2, (tall - height) / 2, width, height, size)


def _box(box: Box, frame: Frame) -> str:
    return _rectangle(_inset(box, (0, 1), frame, 0))


def _rectangle(frame: Frame) -> str:
    return f'x="{frame.x:.1f}" y="{frame.y:.1f}" width="{frame.width:.1f}" height="{frame.height:.1f}"'


def _mark(mark: Mark, left: Frame, right: Frame) -> str:
    a, b = _inset(mark.a_box, mark.a_place, left), _inset(mark.b_box, mark.b_place, right)
    x0, y0 = a.x + a.width, left.at(0, spread(mark.a_box, mark.a_level))[1]
    x1, y1 = b.x, right.at(0, spread(mark.b_box, mark.b_level))[1]
    middle = (x0 + x1) / 2
    curve = f"M{x0:.1f} {y0:.1f}C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}"
    dashes = ' stroke-dasharray="4 3"' if mark.dashed else ""
    lines = f'<rect {_rectangle(a)}/><rect {_rectangle(b)}/><path d="{curve}"/>'
    discs = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6.5" fill="{mark.colour}" stroke="{mark.ink}"/>'
        f'<text x="{x:.1f}" y="{y + 3.2:.1f}" fill="{mark.ink}">{mark.number}</text>'
        for x, y in ((x0, y0), (x1, y1))
    )
    return (
        f'<g class="line"{dashes}><g stroke="{mark.ink}" stroke-width="3.4">{lines}</g>'
        f'<g stroke="{mark.colour}" stroke-width="2">{lines}</g></g>{discs}'
    )


def _inset(box: Box, place: tuple[int, int], frame: Frame, by: float = 3.6) -> Frame:
    step = by * frame.size[0] / frame.width, by * frame.size[1] / frame.height
    x0, y0, x1, y1 = inset(box, place, step)
    left, top = frame.at(x0, y0)
    right, bottom = frame.at(x1, y1)
    return Frame(left, top, right - left, bottom - top, frame.size)
