"""Heat on the object: does an explanation point at the object, and not at what lies around it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.errors import UsageError
from diml.matching import mask_values

Grid = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class CellMasks:
    """How much of each cell of a grid shows an object.

    Attributes:
        object: (h, w), the share of each cell's area, 0..1.
        centre: (h, w), 1 where the pixel at the centre of the cell is at least half opaque, else 0.
        other: (h, w), the share of each cell that another object covers; None without one.
    """

    object: Float[Tensor, "h w"]
    centre: Float[Tensor, "h w"]
    other: Float[Tensor, "h w"] | None = None

    @classmethod
    def of(
        cls, grid: Grid, visible: Box, size: tuple[int, int], mask: Image.Image, other: Image.Image | None = None
    ) -> CellMasks:
        """From masks of the size of the original.

        Args:
            grid: rows and columns.
            visible: the rectangle of the original, in pixels, that the grid divides evenly.
            size: width and height of the original.
            mask, other: bright where the object and where the other object is; see `mask_values`.

        Raises:
            UsageError: a mask has another size, or selects nothing.
        """
        values = mask_values(mask, size)
        x0, y0, x1, y1 = visible
        rows = ((torch.arange(grid[0]).double() + 0.5) * (y1 - y0) / grid[0] + y0).floor().long()
        columns = ((torch.arange(grid[1]).double() + 0.5) * (x1 - x0) / grid[1] + x0).floor().long()
        at = rows.clamp(0, size[1] - 1), columns.clamp(0, size[0] - 1)
        inside = ((at[0] == rows)[:, None] & (at[1] == columns)).double()
        centre = inside * (values[at[0]][:, at[1]] >= 0.5).double()
        covered = None if other is None else cell_cover(mask_values(other, size), visible, grid)
        return cls(cell_cover(values, visible, grid), centre, covered)


def cell_cover(mask: Float[Tensor, "height width"], visible: Box, grid: Grid) -> Float[Tensor, "h w"]:
    """The mean of a mask over each cell of a grid that divides the visible rectangle evenly, by exact areas.

    What the rectangle shows beyond the image counts as 0.

    >>> cell_cover(torch.tensor([[0.0, 1.0, 1.0]]).double(), (0, 0, 3, 1), (1, 2))
    tensor([[0.3333, 1.0000]], dtype=torch.float64)
    """
    x0, y0, x1, y1 = visible
    rows = _overlaps(torch.linspace(y0, y1, grid[0] + 1, dtype=torch.float64), mask.shape[0])
    columns = _overlaps(torch.linspace(x0, x1, grid[1] + 1, dtype=torch.float64), mask.shape[1])
    area = (x1 - x0) * (y1 - y0) / (grid[0] * grid[1])
    return rows @ mask.double() @ columns.mT / area


def _overlaps(edges: Float[Tensor, " n1"], pixels: int) -> Float[Tensor, "n pixels"]:
    low = torch.arange(pixels, dtype=torch.float64)
    return (torch.minimum(edges[1:, None], low + 1) - torch.maximum(edges[:-1, None], low)).clamp(min=0)


@dataclass(frozen=True)
class ObjectHeat:
    """Where the heat of one image lies. The heat of a cell is spread evenly over it, and negative heat is left out.

    Attributes:
        share: of the heat that lies on the object, 0..1.
        right: share of the heat on both objects that lies on the right one; NaN without another object, or where no
            heat lies on either.
        pointed: whether the centre of the strongest cell lies on the object (the pointing game of Zhang et al., 2016);
            equally strong cells count in part.
        covered: the share of the strongest cell that shows the object.
    """

    share: float
    right: float
    pointed: float
    covered: float


def object_heat(heat: Float[Tensor, "h w"], masks: CellMasks) -> ObjectHeat:
    """Score a heat against the masks of an image.

    `share = sum_i max(heat_i, 0) cover_i / sum_i max(heat_i, 0)`. A heat without positive values counts as one that is
    the same everywhere, which gives the object's share of the area.

    Raises:
        UsageError: a heat of another grid.

    >>> masks = CellMasks(torch.tensor([[1.0, 0.5]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 0.5]]))
    >>> object_heat(torch.tensor([[1.0, 1.0]]), masks)
    ObjectHeat(share=0.75, right=0.75, pointed=1.0, covered=0.75)
    """
    if heat.shape != masks.object.shape:
        raise UsageError(
            f"expected a heat of {tuple(masks.object.shape)} cells, as the masks have, got {tuple(heat.shape)}"
        )
    values = heat.double()
    positive = values.clamp(min=0)
    if not positive.any():
        positive = torch.ones_like(positive)
    strongest = (values == values.max()).double()
    strongest = strongest / strongest.sum()
    on = float((positive * masks.object).sum())
    other = 0.0 if masks.other is None else float((positive * masks.other).sum())
    return ObjectHeat(
        share=on / float(positive.sum()),
        right=on / (on + other) if masks.other is not None and on + other > 0 else float("nan"),
        pointed=float((strongest * masks.centre).sum()),
        covered=float((strongest * masks.object).sum()),
    )


def even_heats(masks: Sequence[CellMasks]) -> list[Float[Tensor, "h w"]]:
    """The same heat everywhere: what a heat is worth that knows the size of the object and nothing else."""
    return [torch.ones_like(each.object) for each in masks]
