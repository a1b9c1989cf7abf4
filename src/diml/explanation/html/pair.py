"""One pair of images and why they are similar, as one self-contained, interactive HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diml.explanation.html.page import fill, fingerprint, image_uri, json_block, template, text
from diml.explanation.images import NO_IMAGE, NamedImage, blank
from diml.explanation.marks import AGAINST, COLOURS, FOR, LIGHT, Box, Mark, cell_of, marks_of, original_size
from diml.explanation.numbers import check_parts
from diml.explanation.pair import PairExplanation
from diml.explanation.pair_words import PAIR_HOW, pair_count, pair_words
from diml.explanation.words import CAVEAT, digits, number, percent, signed, without_middle

if TYPE_CHECKING:
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match

# Longer side of an image's drawing in its own units, and at most so many pixels are embedded.
SIDE = 1000
# Most pairs that the page lists; the JSON has all of them.
MOST_PAIRS = 64
NO_BREAK = "\N{NO-BREAK SPACE}"
# Longest file name in the heading, in characters; it stands in full above its image.
NAME = 40


class EmbeddedImage:
    """One of the two images in the page: its picture, its title, and its cells in units of its drawing."""

    def __init__(self, image: NamedImage, maps: FeatureMaps) -> None:
        self.picture, self.title, self.grid = image.picture, image.title, maps.grid
        self.original = original_size(maps, None if self.picture is None else self.picture.size)
        scale = SIDE / max(self.original)
        # Extreme shapes keep a visible side.
        self.width, self.height = (max(each * scale, 4.0) for each in self.original)
        self.cells = [self.scaled(cell_of(maps, i, self.original)) for i in range(maps.parts)]

    def scaled(self, box: Box) -> Box:
        """A box in pixels of the original, in units of the drawing."""
        x, y = self.width / self.original[0], self.height / self.original[1]
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def pair_page(explanation: PairExplanation, parts: int = 6) -> str:
    """A self-contained HTML page of why two images are similar: pointing at a part shows its matches.

    The page works by mouse, touch and keyboard, on narrow and on dark screens, and requests nothing; without scripts
    its ranked list of pairs remains.

    Args:
        explanation: of the two images.
        parts: how many pairs of parts are shown at first, from 1; the reader can change it.

    Returns:
        The page; `explanation.draw("why.html")` writes it.

    Raises:
        UsageError: `parts` is below 1.
        ImageError: an image cannot be read.
    """
    check_parts(parts)
    match = explanation.match
    a, b = EmbeddedImage(explanation.a, match.maps_a), EmbeddedImage(explanation.b, match.maps_b)
    marks = marks_of(match, max(parts, MOST_PAIRS), a.original, b.original)
    words = pair_words(match)
    style, script = template("pair.css"), template("pair.js")
    values = {
        "policy": f"default-src 'none'; img-src data:; style-src {fingerprint(style)}; "
        f"script-src {fingerprint(script)}; base-uri 'none'; form-action 'none'",
        "style": style,
        "script": script,
        "name_a": text(without_middle(a.title, NAME)),
        "name_b": text(without_middle(b.title, NAME)),
        "headline": text(words.headline[0]),
        "similarity": text(words.headline[1]),
        "words": "\n".join(f"<p>{text(sentence)}</p>" for sentence in words.sentences),
        "figures": _figure("a", a) + "\n" + _figure("b", b),
        "shown": str(min(parts, len(marks))),
        "most": str(len(marks)),
        "how": PAIR_HOW,
        "pairs": "\n".join(_item(mark, a, b, explanation.similarity) for mark in marks),
        "more": _omitted(pair_count(match) - len(marks), len(marks)),
        "caveat": CAVEAT,
        "data": json_block(_data(match, a, b, marks)),
    }
    return fill(template("pair.html"), values)


def _omitted(left: int, most: int) -> str:
    """How many pairs neither the list nor the slider reaches."""
    if left == 0:
        return ""
    these = "1 weaker pair is" if left == 1 else f"{left:,} weaker pairs are"
    return f"{these} omitted beyond the slider's {most:,}; <code>diml explain --json</code> lists all."


def _figure(name: str, image: EmbeddedImage) -> str:
    tiny = ' class="tiny"' if max(image.original) < 100 else ""
    size = f'width="{image.width:.1f}" height="{image.height:.1f}"'
    source = image_uri(image.picture or blank(), SIDE)
    middle = f'x="{image.width / 2:.1f}" y="{image.height / 2:.1f}"'
    missing = "" if image.picture else f'<text class="missing" {middle}>{NO_IMAGE}</text>'
    return (
        f'<figure><figcaption id="name-{name}"><b>{name.upper()}</b> <bdi>{text(image.title)}</bdi></figcaption>'
        f'<svg id="side-{name}" viewBox="0 0 {image.width:.1f} {image.height:.1f}"{tiny}>'
        f'<image id="image-{name}" {size} preserveAspectRatio="none" href="{source}">'
        f'<title>{text(image.title)}</title></image><rect class="frame" {size}/>{missing}</svg></figure>'
    )


def _item(mark: Mark, a: EmbeddedImage, b: EmbeddedImage, similarity: float) -> str:
    pair = mark.pair
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
    # The inner SVG clips what the outer one, where its shape differs, would show around the cell.
    return (
        f'<svg class="crop" viewBox="{view}" role="img" aria-label="The part of {name.upper()}">'
        f'<svg {place} viewBox="{view}"><use href="#image-{name}"/></svg></svg>'
    )


def _data(match: Match, a: EmbeddedImage, b: EmbeddedImage, marks: list[Mark]) -> dict[str, Any]:
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
        "chosen": match.chosen,
        "colours": COLOURS,
        "light": sorted(LIGHT),
        "for": FOR,
        "against": AGAINST,
    }


def _rounded(values: Sequence[float], places: int) -> list[float]:
    return [round(float(value), places) for value in values]


def _table(values: Any) -> list[list[float]]:
    """The rows of the one pair of a match, rounded to more digits than the page shows."""
    return [_rounded(row, 8) for row in values[0].detach().tolist()]
