"""Matches of one image with many others, reduced to what each of its parts contributes to each similarity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.errors import UsageError
from diml.explanation.marks import Box
from diml.explanation.numbers import cell_boxes, part_contributions

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from diml.feature_maps import FeatureMaps
    from diml.matching import Match


@dataclass(frozen=True, eq=False)
class PartSums:
    """One image's matches with n others, summed over the others' parts.

    Attributes:
        maps: of the image (n = 1).
        contributions: (n, r), what each part of the image contributes to the similarity with each of the others.
        similarities: (n,), with each of the others.
        counterparts: (n, r), the part of each other image that forms the strongest pair with each part of the image.
        boxes: for each of the others the boxes of its parts in pixels; None where the geometry is unknown.
        sizes: (width, height) of each of the others in pixels; None where the geometry is unknown.
        grid: rows and columns of the others.
        weight: share of the structural similarity.
        converged: whether all matches have converged.
        chosen: for a part query, the numbers of its chosen cells; None for the whole image.
    """

    maps: FeatureMaps
    contributions: Float[Tensor, "n r"]
    similarities: Float[Tensor, " n"]
    counterparts: Int[Tensor, "n r"]
    boxes: list[list[Box] | None]
    sizes: list[tuple[int, int] | None]
    grid: tuple[int, int]
    weight: float
    converged: bool
    chosen: list[int] | None

    @classmethod
    def of(cls, matches: Match | Iterable[Match]) -> PartSums:
        """Sum up matches as they come, each of one or more pairs, so that maps and plans need not be kept.

        Raises:
            UsageError: no match, or matches of different images.
        """
        import torch

        from diml.matching import Match

        sums: list[PartSums] = []
        for match in [matches] if isinstance(matches, Match) else matches:
            if len(match):
                sums.append(_of_match(match, sums[0].maps if sums else match.maps_a[0]))
        if not sums:
            raise UsageError("expected the matches of an image with at least one other, got none")
        first = sums[0]
        return cls(
            first.maps,
            torch.cat([each.contributions for each in sums]),
            torch.cat([each.similarities for each in sums]),
            torch.cat([each.counterparts for each in sums]),
            [boxes for each in sums for boxes in each.boxes],
            [size for each in sums for size in each.sizes],
            first.grid,
            first.weight,
            all(each.converged for each in sums),
            first.chosen,
        )


def _of_match(match: Match, image: FeatureMaps) -> PartSums:
    same = match.maps_a.grid == image.grid and match.maps_a.dim == image.dim
    if not same or bool((match.maps_a.local != image.local).any()):
        raise UsageError("expected matches with the same image first, got matches of different images")
    return PartSums(
        image,
        part_contributions(match)[0],
        match.similarity.detach(),
        match.contributions.detach().argmax(dim=2),
        [cell_boxes(match.maps_b, k) for k in range(len(match))],
        _sizes(match.maps_b),
        match.maps_b.grid,
        match.weight,
        bool(match.converged.all()),
        match.chosen,
    )


def _sizes(maps: FeatureMaps) -> list[tuple[int, int] | None]:
    if maps.geometry is None:
        return [None] * len(maps)
    return [(int(width), int(height)) for width, height in maps.geometry.size.tolist()]
