"""Where many images agree: what each part of one image brings to its similarity with all of them, on average."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.errors import UsageError
from diml.explanation.marks import Box, cell_box
from diml.explanation.numbers import cell_boxes, chosen_cells, plain_box

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

    from diml.feature_maps import FeatureMaps
    from diml.matching import Match


@dataclass(frozen=True)
class SharedPart:
    """One part of the image and what it brings to the similarity with the others.

    Attributes:
        cell: (row, column) of the part.
        box: `x0, y0, x1, y1` in pixels of the image; None where the geometry is unknown.
        contribution: the mean over the others of what the part brings; may be negative.
        deviation: the standard deviation of the same over the others (divided by n): 0 where all of them agree.
    """

    cell: tuple[int, int]
    box: Box | None
    contribution: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """One image's matches with n others, summed over the others' parts.

    Attributes:
        maps: of the image (n = 1).
        contributions: (n, r), what each part of the image brings to the similarity with each of the others.
        similarity: (n,), with each of the others.
        partners: (n, r), the part of each other one that each part of the image has its strongest pair with.
        boxes: for each of the others the boxes of its parts in pixels; None where the geometry is unknown.
        sizes: (width, height) of each of the others in pixels; None where the geometry is unknown.
        grid: rows and columns of the others.
        weight: share of the structural similarity.
        converged: whether all matches have.
    """

    maps: FeatureMaps
    contributions: Float[Tensor, "n r"]
    similarity: Float[Tensor, " n"]
    partners: Int[Tensor, "n r"]
    boxes: list[list[Box] | None]
    sizes: list[tuple[int, int] | None]
    grid: tuple[int, int]
    weight: float
    converged: bool

    def __len__(self) -> int:
        """How many other images there are."""
        return len(self.similarity)

    @property
    def heat(self) -> Float[Tensor, "h w"]:
        """The mean of the contributions of each part of the image; sums to the mean similarity less the residual."""
        return self.contributions.mean(dim=0).reshape(self.maps.grid)

    @property
    def residual(self) -> float:
        """The mean similarity minus what the parts bring to it."""
        return float(self.similarity.mean() - self.contributions.sum(dim=1).mean())

    def parts(self, n: int | None = None, chosen: Sequence[int] | None = None) -> list[SharedPart]:
        """The n parts that bring most (all of them for None), by mean contribution, largest first.

        Args:
            chosen: for a part query, the numbers of the cells that were chosen, row by row; no others are looked at.
        """
        boxes, cells = cell_boxes(self.maps), chosen_cells(self.maps, chosen)
        means, deviations = (
            self.contributions.mean(dim=0).tolist(),
            self.contributions.std(dim=0, correction=0).tolist(),
        )
        columns = self.maps.grid[1]
        shared = [
            SharedPart(divmod(i, columns), boxes[i] if boxes else None, means[i], deviations[i])
            for i in range(len(means))
        ]
        return sorted((part for part in shared if part.cell in cells), key=lambda part: -part.contribution)[:n]

    def partner_box(self, other: int, cell: tuple[int, int], size: tuple[int, int]) -> Box:
        """Where the strongest partner of a part lies in another image, of `size` where the geometry is unknown."""
        at = int(self.partners[other, cell[0] * self.maps.grid[1] + cell[1]])
        boxes = self.boxes[other]
        return boxes[at] if boxes else cell_box(divmod(at, self.grid[1]), self.grid, size)


def agreement(matches: Match | Iterable[Match]) -> Agreement:
    """Gather the matches of one image with many others.

    Args:
        matches: each of one or more pairs, the same image first in every one of them. They may come from a generator:
            maps and plans are let go of as soon as their sums are taken.

    Raises:
        UsageError: no match came, or matches of different images.

    >>> import torch
    >>> from diml.feature_maps import FeatureMaps
    >>> from diml.matching import Matcher
    >>> maps = FeatureMaps(torch.eye(4, dtype=torch.float64)[torch.tensor([[0, 1], [0, 1], [0, 2]])], (1, 2))
    >>> found = agreement(Matcher().tight().match(maps[[0, 0]], maps[1:]))
    >>> [(part.cell, round(part.contribution, 3), round(part.deviation, 3)) for part in found.parts()]
    [((0, 0), 0.5, 0.0), ((0, 1), 0.25, 0.25)]
    """
    import torch

    from diml.matching import Match

    gathered: list[Agreement] = []
    for match in [matches] if isinstance(matches, Match) else matches:
        if len(match):
            gathered.append(_summed(match, gathered[0].maps if gathered else match.maps_a[0]))
    if not gathered:
        raise UsageError("no match came; expected the matches of an image with at least one other")
    first = gathered[0]
    return Agreement(
        first.maps,
        torch.cat([each.contributions for each in gathered]),
        torch.cat([each.similarity for each in gathered]),
        torch.cat([each.partners for each in gathered]),
        [boxes for each in gathered for boxes in each.boxes],
        [size for each in gathered for size in each.sizes],
        first.grid,
        first.weight,
        all(each.converged for each in gathered),
    )


def _summed(match: Match, image: FeatureMaps) -> Agreement:
    same = match.maps_a.grid == image.grid and match.maps_a.dim == image.dim
    if not same or bool((match.maps_a.local != image.local).any()):
        raise UsageError("matches of different images came; expected the same image first in all of them")
    contributions = match.contributions.detach()
    return Agreement(
        image,
        contributions.sum(dim=2),
        match.similarity.detach(),
        contributions.argmax(dim=2),
        [cell_boxes(match.maps_b, k) for k in range(len(match))],
        _sizes(match.maps_b),
        match.maps_b.grid,
        match.weight,
        bool(match.converged.all()),
    )


def _sizes(maps: FeatureMaps) -> list[tuple[int, int] | None]:
    if maps.geometry is None:
        return [None] * len(maps)
    return [(int(width), int(height)) for width, height in maps.geometry.size.tolist()]


def agreement_document(
    found: Agreement,
    image: str = "A.jpg",
    against: str = "images",
    names: Sequence[str] = (),
    model: str = "",
    marginals: str = "",
) -> dict[str, Any]:
    """Everything there is to say about where one image agrees with others, ready for `json.dumps`.

    Args:
        names: of the others, in the order of the matches.

    Returns:
        `image, against, images, similarity, residual, parts, each`, then `model, grid, weight, marginals, converged`.
        `similarity` is the mean over the `images` others; `parts` holds all parts of the image, the largest mean
        `contribution` first, with `cell`, `box` and `deviation`; contributions and `residual` sum to `similarity`.
        `each` names the others with their `similarity`, the most similar first.
    """
    order = found.similarity.argsort(descending=True, stable=True).tolist()
    return {
        "image": image,
        "against": against,
        "images": len(found),
        "similarity": float(found.similarity.mean()),
        "residual": found.residual,
        "parts": [
            {
                "cell": list(part.cell),
                "box": plain_box(part.box),
                "contribution": part.contribution,
                "deviation": part.deviation,
            }
            for part in found.parts()
        ],
        "each": [{"path": names[k], "similarity": float(found.similarity[k])} for k in order if k < len(names)],
        "model": model,
        "grid": list(found.maps.grid),
        "weight": float(found.weight),
        "marginals": marginals,
        "converged": found.converged,
    }
