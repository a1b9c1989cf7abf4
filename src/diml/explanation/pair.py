"""Why two images are similar: the numbers of one pair, as a document, in words, and drawn."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.explanation.conditions import UNKNOWN, Conditions
from diml.explanation.files import write
from diml.explanation.images import FIRST, SECOND, NamedImage
from diml.explanation.numbers import check_parts, leaves_unmatched, one_pair, plain_box, scalar
from diml.explanation.pair_words import pair_lines, pair_words
from diml.explanation.region_words import carried_sentence, region_lines

if TYPE_CHECKING:
    from diml.matching import Match, PartPair, RegionPairs


@dataclass(frozen=True, eq=False)
class PairExplanation:
    """How similar two images are, and which pairs of parts made them so.

    `diml.compare` and `explain_pair` make one of two images; a match of your own will do as well.

    Args:
        match: of one pair of images; best from `model.explain`, which solves it tightly in float64.
        a, b: the two images; without them documents say `A.jpg` and `B.jpg`, and pictures show grey boxes.
        conditions: what compared the images.
        patches: for an attention rollout, what each patch of either image contributes; stated in the document.

    Raises:
        UsageError: the match is not of one pair of images.

    >>> import torch
    >>> from diml.feature_maps import FeatureMaps
    >>> from diml.matching import Matcher
    >>> maps = FeatureMaps(torch.eye(4, dtype=torch.float64).reshape(1, 4, 4), grid=(2, 2))
    >>> explanation = PairExplanation(Matcher().tight().match(maps, maps))
    >>> round(explanation.similarity, 3), [pair.b for pair in explanation.parts(2)]
    (1.0, [(0, 0), (0, 1)])
    >>> print(explanation.describe(parts=1).splitlines()[-1])
      1  row 0 column 0  ↔  row 0 column 0  +0.250  similarity 1.000, mass 0.250
    """

    match: Match
    a: NamedImage = FIRST
    b: NamedImage = SECOND
    conditions: Conditions = UNKNOWN
    patches: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        one_pair(self.match)

    @property
    def similarity(self) -> float:
        """-1..1: 1 means identical, 0 unrelated, below 0 opposed."""
        return scalar(self.match.similarity)

    def parts(self, n: int | None = None) -> list[PartPair]:
        """The n strongest pairs of parts (all of them for None), largest contribution first.

        For a part query only pairs of its chosen cells are listed.

        Raises:
            UsageError: `n` is below 1.
        """
        if n is not None:
            check_parts(n)
        return self.match.parts(n)

    def regions(self, n: int = 5) -> RegionPairs:
        """The contributions grouped into at most n pairs of regions that correspond; see `Match.regions`.

        Raises:
            UsageError: `n` is below 1.
        """
        return self.match.regions(n)

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to say, as plain Python values: what `diml explain --json` prints.

        Returns:
            `a, b, model, grid, weight, marginals, similarity, structural, pooled, residual, regions, matches,
            converged`, then `grid_b` where the two grids differ, `patches` of a rollout, `part` of a part query,
            `mass` below 1, and `transport` where it is not full, with `bin_similarity` for a dustbin. `regions` holds
            groups of pairs of parts: `kind` is `region` for at most five pairs of regions that correspond, the largest
            contribution first, then come `background`, `unmatched` (where there are such cells) and `remainder`; their
            contributions and `residual` sum to `similarity`. `matches` holds all `r_a * r_b` pairs of parts, the
            largest `contribution` first (it may be negative). Cells are `[row, column]` from 0, boxes
            `[x0, y0, x1, y1]` in pixels of the originals, or None where the geometry is unknown.

            Where parts may stay unmatched there are also `unmatched`, the shares of a and of b (0 to 1) that found no
            counterpart; `unmatched_a` and `unmatched_b`, the same for each part, row by row, which sum to these; and
            `unmatched_contribution`, what a dustbin adds for them: `weight * bin_similarity / 2` times the sum of both
            shares, 0 otherwise. `residual` is `similarity` minus the sum of the contributions of `matches` and this.
        """
        match, entries = self.match, [_entry(pair) for pair in _all_pairs(self.match)]
        document: dict[str, Any] = {
            "a": self.a.name,
            "b": self.b.name,
            "model": self.conditions.model,
            "grid": list(match.maps_a.grid),
            "weight": float(match.weight),
            "marginals": self.conditions.marginals,
            "similarity": self.similarity,
            "structural": scalar(match.structural),
            "pooled": scalar(match.pooled),
            "residual": self.similarity - sum(entry["contribution"] for entry in entries) - _left_contribution(match),
            "regions": [pair.to_dict() for pair in self.regions()],
            "matches": entries,
            "converged": bool(match.converged[0]),
        }
        if match.maps_b.grid != match.maps_a.grid:
            document["grid_b"] = list(match.maps_b.grid)
        if self.patches is not None:
            document["patches"] = self.patches
        if leaves_unmatched(match) or self.conditions.unusual().get("transport"):
            document |= _left(match)
        return document | self.conditions.unusual()

    def describe(self, parts: int | None = None) -> str:
        """The similarity in words, and a sentence for each pair of regions that correspond.

        Args:
            parts: list so many of the strongest pairs of parts in place of the regions, from 1.

        Raises:
            UsageError: `parts` is below 1.
        """
        if parts is None:
            regions = self.regions()
            words = pair_words(self.match, carried=carried_sentence(regions))
            return "\n".join([*words.lines(), "", *region_lines(self.match, regions)])
        shown = self.parts(parts)
        return "\n".join([*pair_words(self.match, shown).lines(), "", *pair_lines(shown)])

    def draw(self, path: str | os.PathLike[str], parts: int | None = None) -> None:
        """Draw the regions that correspond and the heat of both images; the ending of the path chooses the format.

        Args:
            path: .png, .svg or .pdf for a picture; .html for a page whose parts light up what they are matched with.
            parts: draw so many of the strongest pairs of parts in place of the regions, from 1; a picture shows 16 at
                most. A page holds both: the pairs are in a fold, which this opens, and the reader can change their
                number.

        Raises:
            UsageError: `parts` is below 1, another ending, or a folder that does not exist.
            ImageError: an image cannot be read.
            DimlError: the file cannot be written.
        """
        from diml.explanation.drawing import pair_figure
        from diml.explanation.html import pair_page

        write(path, lambda: pair_figure(self, parts), lambda: pair_page(self, parts))


def _all_pairs(match: Match) -> list[PartPair]:
    """Unlike words and pictures, a document lists all pairs of a part query as well."""
    from dataclasses import replace

    return replace(match, part_weights=None).parts()


def _left(match: Match) -> dict[str, Any]:
    """What found no counterpart, in total and part by part."""
    a, b = (each.detach()[0].tolist() for each in match.unmatched)
    return {
        "unmatched": [sum(a), sum(b)],
        "unmatched_a": a,
        "unmatched_b": b,
        "unmatched_contribution": _left_contribution(match),
    }


def _left_contribution(match: Match) -> float:
    return sum(scalar(each.sum(dim=1)) for each in match.unmatched_contributions)


def _entry(pair: PartPair) -> dict[str, Any]:
    return {
        "a": [int(pair.a[0]), int(pair.a[1])],
        "b": [int(pair.b[0]), int(pair.b[1])],
        "a_box": plain_box(pair.a_box),
        "b_box": plain_box(pair.b_box),
        "mass": float(pair.mass),
        "similarity": float(pair.similarity),
        "contribution": float(pair.contribution),
    }
