"""Why two images are similar: the numbers of one pair, as a document, in words, and drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.explanation.conditions import UNKNOWN, Conditions
from diml.explanation.files import write
from diml.explanation.images import FIRST, SECOND, NamedImage
from diml.explanation.numbers import check_parts, one_pair, plain_box, scalar
from diml.explanation.words import NOTICEABLE, SCALE, Words, digits, number, percent, place, residual_sentence, signed

if TYPE_CHECKING:
    from diml.matching import Match, PartPair

# From here up two images may well be copies of each other, and readers wonder why they do not reach 1.
NEAR_ONE = 0.98

PAIR_HOW = (
    "A pair contributes more the more alike its two parts look to the model, and the more mass the matching gives it."
)


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

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to say, as plain Python values: what `diml explain --json` prints.

        Returns:
            `a, b, model, grid, weight, marginals, similarity, structural, pooled, residual, matches, converged`, then
            `grid_b` where the two grids differ, `patches` of a rollout, `part` of a part query, and `mass` below 1.
            `matches` holds all `r_a * r_b` pairs of parts, the largest `contribution` first (it may be negative); cells
            are `[row, column]` from 0, boxes `[x0, y0, x1, y1]` in pixels of the originals, or None where the geometry
            is unknown. `residual` is `similarity` minus the sum of the contributions.
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
            "residual": self.similarity - sum(entry["contribution"] for entry in entries),
            "matches": entries,
            "converged": bool(match.converged[0]),
        }
        if match.maps_b.grid != match.maps_a.grid:
            document["grid_b"] = list(match.maps_b.grid)
        if self.patches is not None:
            document["patches"] = self.patches
        return document | self.conditions.unusual()

    def describe(self, parts: int = 6) -> str:
        """The similarity in words, and one line for each of the strongest pairs of parts.

        Raises:
            UsageError: `parts` is below 1.
        """
        shown = self.parts(parts)
        return "\n".join([*pair_words(self.match, shown).lines(), "", *pair_lines(shown)])

    def draw(self, path: str | os.PathLike[str], parts: int = 6) -> None:
        """Draw the strongest pairs of parts and the heat of both images; the ending of the path chooses the format.

        Args:
            path: .png, .svg or .pdf for a picture; .html for a page whose parts light up what they are matched with.
            parts: how many pairs are shown, from 1; a picture shows 16 at most, in a page the reader can change it.

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


def pair_words(match: Match, shown: Sequence[PartPair] = ()) -> Words:
    """The similarity of one pair of images and what it is made of.

    Args:
        match: of one pair of images.
        shown: the pairs of parts that are listed beside these words; the words then say how much they account for.
    """
    sentences = [_scale(match), _composition(match) if match.chosen is None else _chosen_only(len(match.chosen))]
    if shown:
        sentences.append(_accounted(match, shown))
    return Words(("Similarity", number(scalar(match.similarity))), sentences + _reservations(match))


def _scale(match: Match) -> str:
    text = SCALE
    similarity = scalar(match.similarity)
    if float(f"{similarity:.3f}") < 1 and (_same(match) or similarity >= NEAR_ONE):
        text += " Even an image compared with itself scores slightly below 1, because the matching is soft."
    return text


def _same(match: Match) -> bool:
    """Whether the model saw the same in both images."""
    import torch

    return torch.equal(match.maps_a.local, match.maps_b.local)


def _composition(match: Match) -> str:
    parts, whole = _fraction(match.weight), _fraction(1 - match.weight)
    pooled, structural = number(scalar(match.pooled)), number(scalar(match.structural))
    return (
        f"{whole[0].upper()}{whole[1:]} of it comes from the images as a whole (pooled similarity {pooled}) "
        f"and {parts} from their matched parts (structural similarity {structural})."
    )


def _chosen_only(count: int) -> str:
    these = (
        "chosen part of the first image counts,"
        if count == 1
        else f"{count} chosen parts of the first image count, each"
    )
    return (
        f"Only the {these} matched with whatever resembles it most in the second image; "
        "the rest of both images is ignored."
    )


def _fraction(weight: float) -> str:
    return "half" if weight == 0.5 else f"{100 * weight:.3g} %"


def _accounted(match: Match, shown: Sequence[PartPair]) -> str:
    sum_shown = sum(pair.contribution for pair in shown)
    share = percent(sum_shown, scalar(match.similarity))
    these = "The pair of parts shown accounts" if len(shown) == 1 else f"The {len(shown)} pairs of parts shown account"
    text = f"{these} for {number(sum_shown)} of it" + (f" ({share})" if share else "")
    left = pair_count(match) - len(shown)
    if left == 0:
        return text + "; there are no others."
    return text + f"; {left:,} weaker pair{'s make' if left > 1 else ' makes'} up the rest."


def pair_count(match: Match) -> int:
    """How many pairs of parts there are; for a part query, of its chosen cells."""
    return (match.maps_a.parts if match.chosen is None else len(match.chosen)) * match.maps_b.parts


def _reservations(match: Match) -> list[str]:
    sentences = []
    against = float(match.contributions[0].detach().clamp(max=0).sum())
    if against <= -NOTICEABLE:
        sentences.append(f"Pairs of dissimilar parts count against it: {number(against)} in total.")
    residual = scalar(match.residual)
    if abs(residual) >= NOTICEABLE:
        sentences.append(residual_sentence(residual, "pair of parts"))
    if not bool(match.converged[0]):
        sentences.append("The matching stopped before it had converged, so the numbers are approximate.")
    return sentences


def pair_lines(shown: Sequence[PartPair]) -> list[str]:
    """One line per pair of parts: its rank, where it lies in both images, what it contributes.

    Places are boxes `x0,y0-x1,y1` in pixels of the originals; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(pair.contribution) for pair in shown), default=0.0))
    return [
        f"{i:>3}  {place(pair.a, pair.a_box)}  \N{LEFT RIGHT ARROW}  {place(pair.b, pair.b_box)}"
        f"  {signed(pair.contribution, places)}  similarity {number(pair.similarity)}, mass {pair.mass:.3f}"
        for i, pair in enumerate(shown, start=1)
    ]
