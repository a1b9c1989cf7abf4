"""One pair of images and why they are similar, as one self-contained, interactive HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from diml.explanation.html.page import fill, fingerprint, image_uri, json_block, template, text
from diml.explanation.html.regions import hatching, path_data, region_shapes
from diml.explanation.images import NO_IMAGE, NamedImage, blank
from diml.explanation.marks import AGAINST, COLOURS, FOR, LIGHT, Box, Mark, cell_of, marks_of, original_size
from diml.explanation.numbers import check_parts, heat, leaves_unmatched
from diml.explanation.outlines import CellGrid
from diml.explanation.pair import PairExplanation
from diml.explanation.pair_words import PAIR_HOW, pair_count, pair_words
from diml.explanation.region_marks import RegionMark, RegionPairMark, region_pair_marks, unmatched_cells
from diml.explanation.region_words import NAMES, REGIONS_HOW, carried_sentence, region_place
from diml.explanation.words import CAVEAT, digits, number, percent, signed, without_middle

if TYPE_CHECKING:
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match, RegionPair, RegionPairs

# Longer side of an image's drawing in its own units, and at most so many pixels are embedded.
SIDE = 1000
# Most pairs that the page lists; the JSON has all of them.
MOST_PAIRS = 64
NO_BREAK = "\N{NO-BREAK SPACE}"
# Pairs of parts that the slider shows at first.
FIRST_PAIRS = 6
# The width of a thin line over an image, in units of its drawing.
UNIT = 2.6
# Longest file name in the heading, in characters; it stands in full above its image.
NAME = 40


class EmbeddedImage:
    """One of the two images in the page: its picture, its title, and its cells in units of its drawing."""

    def __init__(self, image: NamedImage, maps: FeatureMaps) -> None:
        self.picture, self.title, self.grid = image.picture, image.title, maps.grid
        self.original = original_size(maps, self.picture)
        scale = SIDE / max(self.original)
        # Extreme shapes keep a visible side.
        self.width, self.height = (max(each * scale, 4.0) for each in self.original)
        self.cells = [self.scaled(cell_of(maps, i, self.original)) for i in range(maps.parts)]
        self.of = CellGrid(maps.grid, self.cells)

    def scaled(self, box: Box) -> Box:
        """A box in pixels of the original, in units of the drawing."""
        x, y = self.width / self.original[0], self.height / self.original[1]
        return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def pair_page(explanation: PairExplanation, parts: int | None = None) -> str:
    """A self-contained HTML page of why two images are similar: the regions that correspond, outlined and listed.

    Pointing at a part shows its matches; the strongest pairs of parts are in a fold. The page works by mouse, touch and
    keyboard, on narrow and on dark screens, and requests nothing; without scripts, outlines and lists remain.

    Args:
        explanation: of the two images.
        parts: open the fold with so many pairs of parts, from 1; the reader can change the number.

    Returns:
        The page; `explanation.draw("why.html")` writes it.

    Raises:
        UsageError: `parts` is below 1.
        ImageError: an image cannot be read.
    """
    count = FIRST_PAIRS if parts is None else parts
    check_parts(count)
    match, regions = explanation.match, explanation.regions()
    a, b = EmbeddedImage(explanation.a, match.maps_a), EmbeddedImage(explanation.b, match.maps_b)
    marks = marks_of(match, max(count, MOST_PAIRS), a.original, b.original)
    shown, unmatched = region_pair_marks(regions), unmatched_cells(regions)
    words = pair_words(match, carried=carried_sentence(regions))
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
        "hatching": hatching(UNIT),
        "figures": _figure("a", a, [mark.a for mark in shown], unmatched[0])
        + "\n"
        + _figure("b", b, [mark.b for mark in shown], unmatched[1]),
        "regions_how": REGIONS_HOW,
        "regions": "\n".join(_region_item(mark, a, b, regions) for mark in shown),
        "others": "\n".join(_other_item(pair, regions) for pair in regions if pair.kind != "region"),
        "open": "" if parts is None else " open",
        "shown": str(min(count, len(marks))),
        "most": str(len(marks)),
        "how": PAIR_HOW,
        "pairs": "\n".join(_item(mark, a, b, explanation.similarity) for mark in marks),
        "more": _omitted(pair_count(match) - len(marks), len(marks)),
        "caveat": CAVEAT,
        "data": json_block(_data(match, a, b, marks) | {"regions": [_told(mark, match, regions) for mark in shown]}),
    }
    return fill(template("pair.html"), values)


def _omitted(left: int, most: int) -> str:
    """How many pairs neither the list nor the slider reaches."""
    if left == 0:
        return ""
    these = "1 weaker pair is" if left == 1 else f"{left:,} weaker pairs are"
    return f"{these} omitted beyond the slider's {most:,}; <code>diml explain --json</code> lists all."


def _figure(name: str, image: EmbeddedImage, marks: Sequence[RegionMark], unmatched: Sequence[tuple[int, int]]) -> str:
    tiny = ' class="tiny"' if max(image.original) < 100 else ""
    size = f'width="{image.width:.1f}" height="{image.height:.1f}"'
    source = image_uri(image.picture or blank(), SIDE)
    middle = f'x="{image.width / 2:.1f}" y="{image.height / 2:.1f}"'
    missing = "" if image.picture else f'<text class="missing" {middle}>{NO_IMAGE}</text>'
    return (
        f'<figure><figcaption id="name-{name}"><b>{name.upper()}</b> <bdi>{text(image.title)}</bdi></figcaption>'
        f'<svg id="side-{name}" viewBox="0 0 {image.width:.1f} {image.height:.1f}"{tiny}>'
        f'<image id="image-{name}" {size} preserveAspectRatio="none" href="{source}">'
        f'<title>{text(image.title)}</title></image><rect class="frame" {size}/>{missing}'
        f'<g class="regions">{region_shapes(image.of, marks, _frame(image), UNIT, unmatched)}</g></svg></figure>'
    )


def _frame(image: EmbeddedImage) -> str:
    """The path data of the whole image."""
    return f"M0 0H{image.width:.1f}V{image.height:.1f}H0Z"


def _region_item(mark: RegionPairMark, a: EmbeddedImage, b: EmbeddedImage, regions: RegionPairs) -> str:
    crops = "".join(_region_crop(name, image, each) for name, image, each in (("a", a, mark.a), ("b", b, mark.b)))
    tag = mark.tag
    return (
        f'<li><svg class="badge" viewBox="-14 -14 28 28" aria-hidden="true">'
        f'<circle r="13" fill="{tag.colour}" stroke="{tag.ink}"/><text dy=".35em" fill="{tag.ink}">{tag.number}</text>'
        f'</svg>{crops}<span class="tell"><b>Region {tag.number}</b>, {_worth(mark.pair, regions)}</span></li>'
    )


def _region_crop(name: str, image: EmbeddedImage, mark: RegionMark) -> str:
    """A region cut out, the rest of its box faded."""
    x0, y0, x1, y1 = image.of.around(mark.cells)
    around = path_data(image.of, mark.cells)
    fade = f"M{x0:.1f} {y0:.1f}H{x1:.1f}V{y1:.1f}H{x0:.1f}Z{around}"
    cut = f'<path class="cut" stroke="{mark.tag.colour}" d="{around}"/>'
    return _crop(name, (x0, y0, x1, y1), f'<path class="fade" fill-rule="evenodd" d="{fade}"/>{cut}')


def _other_item(pair: RegionPair, regions: RegionPairs) -> str:
    """A group that is no region, with a sample of how the images show its cells, where there are any."""
    drawn = (
        {"unmatched": 'fill="url(#hatch)"', "background": 'class="background"'} if pair.a_cells or pair.b_cells else {}
    )
    fill = drawn.get(pair.kind, 'fill="none"')
    swatch = f'<svg class="swatch" viewBox="0 0 44 44" aria-hidden="true"><rect width="44" height="44" {fill}/></svg>'
    name = NAMES[pair.kind]
    return f"<li>{swatch}<span><b>{name[0].upper()}{name[1:]}</b>, {_worth(pair, regions)}</span></li>"


def _worth(pair: RegionPair, regions: RegionPairs) -> str:
    """What a group carries: its share of the similarity, where shares mean something, and its contribution."""
    value, share = signed(pair.contribution), percent(pair.contribution, regions.similarity)
    return f"{share} of the similarity ({value})".replace(" %", NO_BREAK + "%") if share else value


def _told(mark: RegionPairMark, match: Match, regions: RegionPairs) -> dict[str, Any]:
    """A region for the script: its cells by number, and the sentence that is said of it."""
    pair, grid_a, grid_b = mark.pair, match.maps_a.grid, match.maps_b.grid
    a, b = region_place(pair.a_cells, None, grid_a), region_place(pair.b_cells, None, grid_b)
    return {
        "a": [row * grid_a[1] + column for row, column in pair.a_cells],
        "b": [row * grid_b[1] + column for row, column in pair.b_cells],
        "text": f"Region {mark.tag.number}, {_worth(pair, regions)}: in A {a}, in B {b}.",
    }


def _item(mark: Mark, a: EmbeddedImage, b: EmbeddedImage, similarity: float) -> str:
    pair = mark.pair
    share = percent(pair.contribution, similarity)
    brings = signed(pair.contribution, digits(pair.contribution)) + (
        f" ({share})".replace(" %", NO_BREAK + "%") if share else ""
    )
    crops = _crop("a", a.scaled(mark.a_box)) + _crop("b", b.scaled(mark.b_box))
    return (
        f'<li><svg class="badge" viewBox="-14 -14 28 28" role="img" aria-label="Pair {mark.number}">'
        f'<circle r="13" fill="{mark.colour}" stroke="{mark.ink}"/>'
        f'<text dy=".35em" fill="{mark.ink}">{mark.number}</text></svg>'
        f'{crops}<span class="tell"><b>{brings}</b><br><span class="faint">alike {number(pair.similarity, 2)}, '
        f"mass{NO_BREAK}{number(100 * pair.mass, 1)}{NO_BREAK}%</span></span></li>"
    )


def _crop(name: str, box: Box, over: str = "") -> str:
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        return '<span class="faint">outside</span>'
    view = f"{x0:.1f} {y0:.1f} {x1 - x0:.1f} {y1 - y0:.1f}"
    place = f'x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}"'
    # The inner SVG clips what the outer one, where its shape differs, would show around the cell.
    return (
        f'<svg class="crop" viewBox="{view}" role="img" aria-label="The part of {name.upper()}">'
        f'<svg {place} viewBox="{view}"><use href="#image-{name}"/>{over}</svg></svg>'
    )


def _data(match: Match, a: EmbeddedImage, b: EmbeddedImage, marks: list[Mark]) -> dict[str, Any]:
    strongest = max((abs(mark.pair.contribution) for mark in marks), default=0.0)
    columns_a, columns_b = match.maps_a.grid[1], match.maps_b.grid[1]
    return {
        "a": {"columns": columns_a, "cells": [_rounded(box, 1) for box in a.cells]},
        "b": {"columns": columns_b, "cells": [_rounded(box, 1) for box in b.cells]},
        "heat": {name: _rounded(values.flatten().tolist(), 8) for name, values in zip("ab", heat(match), strict=True)},
        "unmatched": dict(zip("ab", _unmatched(match), strict=True)),
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


def _unmatched(match: Match) -> list[list[float]]:
    """The share of each part's mass that found no counterpart, of a and of b."""
    if match.marginals is None or not leaves_unmatched(match):
        return [[0.0] * match.maps_a.parts, [0.0] * match.maps_b.parts]
    return [
        _rounded((left[0] / mu[0].clamp(min=1e-12)).clamp(max=1).detach().tolist(), 4)
        for left, mu in zip(match.unmatched, match.marginals, strict=True)
    ]


def _rounded(values: Sequence[float], places: int) -> list[float]:
    return [round(float(value), places) for value in values]


def _table(values: Any) -> list[list[float]]:
    """The rows of the one pair of a match, rounded to more digits than the page shows."""
    return [_rounded(row, 8) for row in values[0].detach().tolist()]
