"""One pair of images and why they are similar, as one HTML page that needs nothing but itself and moves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diml.explanation.html.page import fill, fingerprint, image_uri, json_block, template, text
from diml.explanation.images import image_name, opened
from diml.explanation.marks import AGAINST, COLOURS, FOR, LIGHT, Box, Mark, cell_box, marks_of, original_size
from diml.explanation.numbers import cell_boxes, one_pair, scalar
from diml.explanation.words import CAVEAT, PAIR_HOW, describe, digits, number, percent, signed, without_middle

if TYPE_CHECKING:
    from PIL.Image import Image

    from diml.feature_maps import FeatureMaps
    from diml.matching import Match

# Units of the longer side of an image's drawing, and as many pixels at most are put into the page.
SIDE = 1000
# More pairs than this nobody looks at; all of them are in the JSON.
MOST = 64
NO_BREAK = "\N{NO-BREAK SPACE}"
# Letters of a file name in the heading; it stands in full above its image.
NAME = 40


class Side:
    """One of the two images: its picture, its name, and its cells in units of its drawing."""

    def __init__(self, image: Image | str | os.PathLike[str], title: str, maps: FeatureMaps) -> None:
        self.picture, self.title, self.grid = opened(image), title, maps.grid
        self.original = original_size(maps, self.picture.size)
        self.scale = SIDE / max(self.original)
        # A hair is still drawn as a line.
        self.width, self.height = (max(each * self.scale, 4.0) for each in self.original)
        cells = [divmod(i, maps.grid[1]) for i in range(maps.parts)]
        boxes = cell_boxes(maps) or [cell_box(cell, maps.grid, self.original) for cell in cells]
        self.cells = [self.scaled(box) for box in boxes]

    def scaled(self, box: Box) -> Box:
        x, y = self.width / self.original[0], self.height / self.original[1]
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def match_page(
    match: Match,
    image_a: Image | str | os.PathLike[str],
    image_b: Image | str | os.PathLike[str],
    *,
    parts: int = 6,
    title_a: str | None = None,
    title_b: str | None = None,
    chosen: Sequence[int] | None = None,
) -> str:
    """A self-contained HTML page of why two images are similar: pointed at, a part lights up what it is matched with.

    The page works by mouse, touch and keyboard, on narrow screens and in the dark, and asks nothing of the network;
    without scripts its ranked list of pairs remains.

    Args:
        match: of this pair of images; best from `model.explain`.
        image_a, image_b: paths, or PIL images; a smaller copy of the original will do.
        parts: how many pairs of parts are shown at first, from 1; the reader can change it.
        title_a, title_b: what to call the images; their file names if left out.
        chosen: for a part query, the numbers of the cells of a that were chosen.

    Returns:
        The page; `diml.explanation.save_page(page, "why.html")` writes it.

    Raises:
        UsageError: `parts` is below 1, or the match is not of one pair of images.
        ImageError: an image cannot be read.
    """
    match = one_pair(match)
    a = Side(image_a, image_name(image_a, "first image") if title_a is None else title_a, match.maps_a)
    b = Side(image_b, image_name(image_b, "second image") if title_b is None else title_b, match.maps_b)
    marks = marks_of(match, max(parts, MOST) if parts > 0 else parts, a.original, b.original, chosen)
    words = describe(match, chosen=chosen)
    # The score stands above in large type, so its sentence need not repeat the number.
    words[0] = words[0].split(": ", 1)[1]
    style, script = template("pair.css"), template("pair.js")
    left = (match.maps_a.parts if chosen is None else len(chosen)) * match.maps_b.parts - len(marks)
    values = {
        "policy": f"default-src 'none'; img-src data:; style-src {fingerprint(style)}; "
        f"script-src {fingerprint(script)}; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "name_a": text(without_middle(a.title, NAME)),
        "name_b": text(without_middle(b.title, NAME)),
        "similarity": number(scalar(match.similarity)),
        "words": "\n".join(f"<p>{text(line)}</p>" for line in words),
        "figures": _figure("a", a) + "\n" + _figure("b", b),
        "shown": str(min(parts, len(marks))),
        "most": str(len(marks)),
        "how": PAIR_HOW,
        "pairs": "\n".join(_item(mark, a, b, match) for mark in marks),
        "more": _left_out(left, len(marks)),
        "caveat": CAVEAT,
        "data": json_block(_data(match, a, b, marks, chosen)),
    }
    return fill(template("pair.html"), values)


def _left_out(left: int, most: int) -> str:
    """What neither the list nor the slider reaches."""
    if left == 0:
        return ""
    these = "1 pair weaker" if left == 1 else f"{left:,} pairs weaker"
    are = "is" if left == 1 else "are"
    return f"{these} than the slider's {most:,} {are} left out here; <code>diml explain --json</code> lists all."


def _figure(name: str, side: Side) -> str:
    tiny = ' class="tiny"' if max(side.original) < 100 else ""
    size = f'width="{side.width:.1f}" height="{side.height:.1f}"'
    return (
        f'<figure><figcaption id="name-{name}"><b>{name.upper()}</b> <bdi>{text(side.title)}</bdi></figcaption>'
        f'<svg id="side-{name}" viewBox="0 0 {side.width:.1f} {side.height:.1f}"{tiny}>'
        f'<image id="image-{name}" {size} preserveAspectRatio="none" href="{image_uri(side.picture, SIDE)}">'
        f'<title>{text(side.title)}</title></image><rect class="frame" {size}/></svg></figure>'
    )


def _item(mark: Mark, a: Side, b: Side, match: Match) -> str:
    pair, similarity = mark.pair, scalar(match.similarity)
    share = percent(pair.contribution, similarity)
    brings = signed(pair.contribution, digits(pair.contribution)) + (
        f" ({share})".replace(" %", NO_BREAK + "%") if share else ""
    )
    crops = _crop("a", a.scaled(mark.a_box)) + _crop("b", b.scaled(mark.b_box))
    return (
        f'<li><svg class="badge" viewBox="-14 -14 28 28" role="img" aria-label="Pair {mark.number}">'
        f'<circle r="13" fill="{mark.colour}" stroke="{mark.ink}"/><text fill="{mark.ink}">{mark.number}</text></svg>'
        f'{crops}<span class="tell"><b>{brings}</b><br><span class="faint">alike {number(pair.similarity, 2)}, '
        f"mass{NO_BREAK}{number(100 * pair.mass, 1)}{NO_BREAK}%</span></span></li>"
    )


def _crop(name: str, box: Box) -> str:
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return '<span class="faint">outside</span>'
    view = f"{x0:.1f} {y0:.1f} {x1 - x0:.1f} {y1 - y0:.1f}"
    place = f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
    # The inner one cuts off what the outer one, where its shape differs, would show around the cell.
    return (
        f'<svg class="crop" viewBox="{view}" role="img" aria-label="The part of {name.upper()}">'
        f'<svg {place} viewBox="{view}"><use href="#image-{name}"/></svg></svg>'
    )


def _data(match: Match, a: Side, b: Side, marks: list[Mark], chosen: Sequence[int] | None) -> dict[str, Any]:
    strongest = max((abs(mark.pair.contribution) for mark in marks), default=0.0)
    columns_a, columns_b = match.maps_a.grid[1], match.maps_b.grid[1]
    return {
        "a": {"columns": columns_a, "cells": [_rounded(box, 1) for box in a.cells]},
        "b": {"columns": columns_b, "cells": [_rounded(box, 1) for box in b.cells]},
        "mass": _table(match.plan),
        "alike": _table(match.local_similarity),
        "contribution": _table(match.contributions),
        "pairs": [
            [mark.pair.a[0] * columns_a + mark.pair.a[1], mark.pair.b[0] * columns_b + mark.pair.b[1]] for mark in marks
        ],
        "digits": digits(strongest),
        "chosen": None if chosen is None else list(chosen),
        "colours": COLOURS,
        "light": sorted(LIGHT),
        "for": FOR,
        "against": AGAINST,
    }


def _rounded(values: Sequence[float], places: int) -> list[float]:
    return [round(float(value), places) for value in values]


def _table(values: Any) -> list[list[float]]:
    """The rows of the first pair of a match, at as many digits as a page can show."""
    return [_rounded(row, 8) for row in values[0].detach().tolist()]
