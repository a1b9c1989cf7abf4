"""How an index is to be made."""

from __future__ import annotations

import os
from dataclasses import dataclass

from diml.errors import UsageError
from diml.model import StructuralModel
from diml.search.codes import FLOAT16, check_codes
from diml.search.schema import check_columns

# Number of images up to which the coarse search looks at every image.
EXACT_LIMIT = 100_000

Grid = int | tuple[int, int]
ModelLike = StructuralModel | str | os.PathLike[str]


@dataclass(frozen=True)
class IndexSettings:
    """How an index is to be made.

    Attributes:
        model: the model as given; None for features that are computed elsewhere.
        grid: without a model: rows and columns of the maps; None for those of the first maps.
        dim: outputs of the head that is fitted for a model without one; None for the default, 0 for no head. Without a
            model: numbers per part; None for that of the first maps.
        columns: further columns beyond those of the first collection.
        exact_limit: number of images up to which the coarse search is exact.
        codes: name of the codes of the maps, see `parse_codes`.
        thumbnails: whether to store a small picture of each image.
        sketches: whether to store a sketch of each map, which only maps in float16 have.
    """

    model: StructuralModel | None
    grid: tuple[int, int] | None = None
    dim: int | None = None
    columns: tuple[str, ...] = ()
    exact_limit: int = EXACT_LIMIT
    codes: str = FLOAT16
    thumbnails: bool = True
    sketches: bool = False

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 0:
            raise UsageError(f"expected dim >= 1, or 0 to keep the backbone's own channels, got {self.dim}")
        if self.model is None and self.dim == 0:
            raise UsageError("expected dim >= 1 for an index without a model, got 0")
        check_columns(self.columns)
        check_codes(self.codes)
        check_sketches(self.sketches, self.codes)
        if self.model is not None and self.dim and self.model.head_fitted and self.dim != self.model.dim:
            raise UsageError(
                f"expected dim {self.model.dim}, that of the head of the model {self.model.name}, got {self.dim}; "
                "leave dim out"
            )


def check_sketches(sketches: bool, codes: str) -> None:
    """Refuse sketches of codes.

    Raises:
        UsageError: both are asked for.
    """
    if sketches and codes != FLOAT16:
        raise UsageError(f"sketches are of maps in float16, got the codes {codes}; leave one of them out")


def as_grid(grid: Grid | None) -> tuple[int, int] | None:
    """Rows and columns.

    >>> as_grid(4), as_grid((2, 3)), as_grid(None)
    ((4, 4), (2, 3), None)
    """
    return (grid, grid) if isinstance(grid, int) else grid


def as_model(model: ModelLike, grid: tuple[int, int] | None = None, bit_depth: int | None = None) -> StructuralModel:
    """A model by its name or as it is, with a grid and a bit depth if they are given."""
    loaded = model if isinstance(model, StructuralModel) else StructuralModel.from_pretrained(model)
    if bit_depth is not None:
        loaded = loaded.with_decoding(bit_depth=bit_depth)
    return loaded if grid in (None, loaded.grid) else loaded.with_grid(grid)
