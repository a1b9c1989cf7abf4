"""Numbers that several explanations share: of one pair of images, of its cells, and as JSON states them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.errors import UsageError
from diml.explanation.words import NOTICEABLE

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from diml.explanation.marks import Box
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match


def one_pair(match: Match) -> Match:
    """The match itself, if it is of one pair of images.

    Raises:
        UsageError: it holds no pair, or several.
    """
    if len(match) != 1:
        raise UsageError(f"expected the match of one pair of images, got {len(match)} pairs; pick one with match[i]")
    return match


def scalar(values: Tensor) -> float:
    """The one value of a match of one pair, without its gradient."""
    return float(values.detach()[0])


def check_parts(parts: int) -> None:
    """Refuse to show no parts.

    Raises:
        UsageError: `parts` is below 1.
    """
    if parts < 1:
        raise UsageError(f"expected parts >= 1, got {parts}")


def chosen_cells(maps: FeatureMaps, chosen: Sequence[int] | None) -> set[tuple[int, int]]:
    """(row, column) of the cells that a part query chose; of all cells for None."""
    return {divmod(each, maps.grid[1]) for each in (range(maps.parts) if chosen is None else chosen)}


def plain_box(box: Sequence[float] | None) -> list[float] | None:
    """A box as JSON has it."""
    return None if box is None else [float(edge) for edge in box]


def cell_boxes(maps: FeatureMaps, i: int = 0) -> list[Box] | None:
    """The boxes of all cells of an image, row by row; None where the geometry is unknown."""
    boxes = maps.boxes(i)
    return None if boxes is None else [(x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist()]


def around(maps: FeatureMaps, cells: Sequence[int]) -> Box | None:
    """The box around these cells of an image, given by number; None for no cells or where the geometry is unknown."""
    boxes = cell_boxes(maps)
    if boxes is None or not cells:
        return None
    x0, y0, x1, y1 = zip(*(boxes[i] for i in cells), strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def heat(match: Match) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Where the similarity comes from: how much each cell of either image contributes to it.

    A cell's heat is the sum of the contributions of all pairs that it is in, and what a dustbin adds for it, see
    `part_contributions`, so the heat of one image sums to the similarity less the residual. It is negative where a cell
    counts against the similarity.

    Returns:
        (h, w) of the first image and (h, w) of the second, each of its own grid.

    Raises:
        UsageError: the match is not of one pair of images.
    """
    match = one_pair(match)
    a, b = part_contributions(match)
    return a[0].reshape(match.maps_a.grid), b[0].reshape(match.maps_b.grid)


def part_contributions(match: Match) -> tuple[Float[Tensor, "n r_a"], Float[Tensor, "n r_b"]]:
    """What each part of a, and of b, contributes: either sums to the similarity less the residual.

    It is the sum over all pairs that the part is in. With a dustbin of price c the unmatched mass of a part adds
    `w c` times that mass, as if it were matched with similarity c. That is twice its own entry in
    `Match.unmatched_contributions`: as much mass is unmatched in the other image, and belongs to no part of this one.
    """
    pairs = match.contributions.detach()
    left_a, left_b = (2 * each.detach() for each in match.unmatched_contributions)
    return pairs.sum(dim=2) + left_a, pairs.sum(dim=1) + left_b


def leaves_unmatched(match: Match) -> bool:
    """Whether parts of a match of one pair may stay unmatched; what only lacks convergence is no reason."""
    if match.mass < 1 or match.bin_similarity is not None:
        return True
    left = max(scalar(each.sum(dim=1)) for each in match.unmatched)
    return left > scalar(match.transport.error) + NOTICEABLE
