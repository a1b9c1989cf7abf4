"""Feature maps: the output of a model for images, and the type that all subpackages exchange."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError


@dataclass(frozen=True)
class Geometry:
    """Where feature maps lie in their original images.

    Attributes:
        size: (n, 2) int64, width and height of each original in pixels, after applying its EXIF orientation.
        visible: (n, 4) float64, the rectangle `x0, y0, x1, y1` of each original, in pixels, that the model saw. It may
            extend beyond the image if a crop was larger than the image. The grid divides this rectangle evenly.
    """

    size: Int[Tensor, "n 2"]
    visible: Float[Tensor, "n 4"]

    def __post_init__(self) -> None:
        if self.size.ndim != 2 or self.size.shape[1] != 2 or self.visible.shape != (len(self.size), 4):
            raise UsageError(
                "expected a geometry with size (n, 2) and visible (n, 4) of the same n, got "
                f"{tuple(self.size.shape)} and {tuple(self.visible.shape)}"
            )

    def __getitem__(self, index: Tensor | slice) -> Geometry:
        return Geometry(self.size[index], self.visible[index])


class FeatureMaps:
    """The feature maps of n images: `d` numbers at each of `r = h * w` locations ("parts").

    Args:
        local: (n, r, d), one vector per part, row by row of the grid, **not** normalised.
        grid: `(h, w)`, rows and columns, with `h * w == r`.
        pooled: (n, d), one vector per image. By default the mean of `local` over the parts, with which every similarity
            decomposes exactly. A model whose pooled vector is something else (class token, GeM) passes its own, and a
            `Match` reports the difference as its residual.
        geometry: where the maps lie in their original images, if known.
        weights: (n, r), how much each part of an image counts, >= 0; kept in float32 or better, scaled to sum to 1 per
            image, and uniform for an image whose weights are all 0. None if all parts count the same. They depend on
            the image (and the collection), not on the image it is compared with.

    Raises:
        UsageError: a shape that does not fit, or a weight that is negative or not finite.

    Index with an int (which keeps the axis, n = 1), a slice, a list or a tensor to select images:

    >>> import torch
    >>> maps = FeatureMaps(torch.arange(24.0).reshape(2, 4, 3), grid=(2, 2))
    >>> maps
    FeatureMaps(n=2, grid=2x2, dim=3, torch.float32, cpu)
    >>> maps[1].pooled
    tensor([[16.5000, 17.5000, 18.5000]])
    """

    def __init__(
        self,
        local: Float[Tensor, "n r d"],
        grid: tuple[int, int],
        pooled: Float[Tensor, "n d"] | None = None,
        geometry: Geometry | None = None,
        weights: Float[Tensor, "n r"] | None = None,
    ) -> None:
        height, width = grid
        if local.ndim != 3 or not local.is_floating_point():
            raise UsageError(f"expected local to be floats (n, r, d), got {local.dtype} of shape {tuple(local.shape)}")
        if height * width != local.shape[1] or local.shape[1] == 0:
            raise UsageError(f"expected height * width parts for a grid of {height}x{width}, got {local.shape[1]}")
        if pooled is not None and pooled.shape != (local.shape[0], local.shape[2]):
            raise UsageError(f"expected pooled of shape {(local.shape[0], local.shape[2])}, got {tuple(pooled.shape)}")
        if geometry is not None and len(geometry.size) != len(local):
            raise UsageError(f"expected a geometry of {len(local)} images, got {len(geometry.size)}")
        self.local = local
        self.grid = (int(height), int(width))
        self.own_pooled = pooled
        self.geometry = geometry
        self.weights = None if weights is None else normalised(weights, local.shape[:2], local.device)

    @cached_property
    def pooled(self) -> Float[Tensor, "n d"]:
        """(n, d): the model's own pooled vector, or the mean over the parts (summed in float32 or better)."""
        return self.mean if self.own_pooled is None else self.own_pooled

    @cached_property
    def mean(self) -> Float[Tensor, "n d"]:
        """(n, d): the weighted mean `sum_i alpha_i x_i` of the parts, in float32 for half precision maps."""
        local = self.local.to(torch.promote_types(self.dtype, torch.float32))
        return local.mean(dim=1) if self.weights is None else weighted_mean(local, self.weights)

    @cached_property
    def weights_or_uniform(self) -> Float[Tensor, "n r"]:
        """(n, r): the weights of the parts, `1 / r` where there are none; float32 or better."""
        if self.weights is not None:
            return self.weights
        dtype = torch.promote_types(self.dtype, torch.float32)
        return torch.full((len(self), self.parts), 1 / self.parts, dtype=dtype, device=self.device)

    def replace(self, **changes: Any) -> FeatureMaps:
        """The same maps with some arguments of the constructor changed.

        Other maps of the same images keep their geometry and their weights, unless these are changed too.

        >>> maps = FeatureMaps(torch.ones(2, 4, 3), (2, 2), weights=torch.eye(4)[:2])
        >>> maps.replace(local=2 * maps.local).weights[0]
        tensor([1., 0., 0., 0.])
        """
        kept = {"grid": self.grid, "pooled": self.own_pooled, "geometry": self.geometry, "weights": self.weights}
        return FeatureMaps(**{"local": self.local, **kept, **changes})

    def __len__(self) -> int:
        return self.local.shape[0]

    @property
    def dim(self) -> int:
        return self.local.shape[2]

    @property
    def parts(self) -> int:
        """r, the number of parts."""
        return self.local.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.local.dtype

    @property
    def device(self) -> torch.device:
        return self.local.device

    def __getitem__(self, index: SupportsIndex | slice | Sequence[int] | Tensor) -> FeatureMaps:
        if isinstance(index, SupportsIndex) and not (isinstance(index, Tensor) and index.ndim):
            index = operator.index(index)
            if not -len(self) <= index < len(self):
                raise IndexError(f"index {index} is out of range for feature maps of {len(self)} images")
            index = slice(index, index + 1 or None)
        elif not isinstance(index, slice):
            index = torch.as_tensor(index if len(index) else torch.empty(0, dtype=torch.int64), device=self.device)
        pooled = None if self.own_pooled is None else self.own_pooled[index]
        geometry = self.geometry
        if geometry is not None:
            geometry = geometry[index.to(geometry.size.device) if isinstance(index, Tensor) else index]
        weights = None if self.weights is None else self.weights[index]
        return FeatureMaps(self.local[index], self.grid, pooled, geometry, weights)

    def to(self, where: torch.dtype | torch.device | str) -> FeatureMaps:
        """Cast to a dtype or move to a device; the geometry keeps its precision and stays on the CPU.

        Weights are kept in float32 or better.
        """

        full = torch.promote_types(where, torch.float32) if isinstance(where, torch.dtype) else where
        pooled = None if self.own_pooled is None else self.own_pooled.to(where)
        weights = None if self.weights is None else self.weights.to(full)
        return self.replace(local=self.local.to(where), pooled=pooled, weights=weights)

    def detach(self) -> FeatureMaps:
        pooled, weights = (None if x is None else x.detach() for x in (self.own_pooled, self.weights))
        return self.replace(local=self.local.detach(), pooled=pooled, weights=weights)

    @staticmethod
    def cat(several: Sequence[FeatureMaps]) -> FeatureMaps:
        """Concatenate feature maps; the geometry is kept if all of them have one.

        Raises:
            UsageError: no maps, or maps that differ in grid, dim or in having a pooled vector of their own or weights.
        """
        if not several:
            raise UsageError("expected at least one FeatureMaps to join, got none")
        first = several[0]
        for maps in several:
            if maps.grid != first.grid or maps.dim != first.dim:
                raise UsageError(f"{maps} cannot be joined to {first}; the grid and dim must be the same")
            if (maps.own_pooled is None) != (first.own_pooled is None):
                raise UsageError(
                    "feature maps with and without a pooled vector of their own cannot be joined; give all of them one"
                )
            if (maps.weights is None) != (first.weights is None):
                raise UsageError("feature maps with and without weights cannot be joined; give all of them weights")
        own = [maps.own_pooled for maps in several if maps.own_pooled is not None]
        known = [maps.geometry for maps in several if maps.geometry is not None]
        geometry = None
        if len(known) == len(several):
            geometry = Geometry(torch.cat([g.size for g in known]), torch.cat([g.visible for g in known]))
        weights = [maps.weights for maps in several if maps.weights is not None]
        return FeatureMaps(
            torch.cat([maps.local for maps in several]),
            first.grid,
            torch.cat(own) if own else None,
            geometry,
            torch.cat(weights) if weights else None,
        )

    def boxes(self, i: int) -> Float[Tensor, "r 4"] | None:
        """(r, 4) float64: the box `x0, y0, x1, y1` of every cell of image i, in pixels of its original, clipped to it.

        Coordinates refer to the original after applying its EXIF orientation, x to the right, y down. None without a
        geometry.

        >>> geometry = Geometry(torch.tensor([[100, 50]]), torch.tensor([[0.0, 0.0, 100.0, 50.0]]))
        >>> FeatureMaps(torch.zeros(1, 4, 3), (2, 2), geometry=geometry).boxes(0)[3].tolist()
        [50.0, 25.0, 100.0, 50.0]
        """
        if self.geometry is None:
            return None
        x0, y0, x1, y1 = self.geometry.visible[i].tolist()
        width, height = self.geometry.size[i].tolist()
        rows, columns = self.grid
        x = torch.linspace(x0, x1, columns + 1, dtype=torch.float64).clamp(0, width)
        y = torch.linspace(y0, y1, rows + 1, dtype=torch.float64).clamp(0, height)
        row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        row, column = row.reshape(-1), column.reshape(-1)
        return torch.stack([x[column], y[row], x[column + 1], y[row + 1]], dim=1)

    def __repr__(self) -> str:
        h, w = self.grid
        weighted = "" if self.weights is None else ", weighted"
        return f"FeatureMaps(n={len(self)}, grid={h}x{w}, dim={self.dim}, {self.dtype}, {self.device}{weighted})"


def weighted_mean(local: Float[Tensor, "n r d"], weights: Float[Tensor, "n r"]) -> Float[Tensor, "n d"]:
    """(n, d): `sum_i alpha_i x_i`, in the dtype of the parts.

    >>> weighted_mean(torch.eye(2)[None], torch.tensor([[0.25, 0.75]]))
    tensor([[0.2500, 0.7500]])
    """
    mean: Tensor = (weights.to(local.dtype)[:, None] @ local)[:, 0]
    return mean


def normalised(weights: Float[Tensor, "n r"], shape: tuple[int, ...], device: torch.device) -> Float[Tensor, "n r"]:
    """Weights of parts in float32 or better, scaled to sum to 1 per image; uniform where all are 0.

    Raises:
        UsageError: another shape than (n, r), or a weight that is negative or not finite.
    """
    if weights.shape != shape:
        raise UsageError(f"expected weights of shape {tuple(shape)}, got {tuple(weights.shape)}")
    weights = weights.to(device, torch.promote_types(weights.dtype, torch.float32))
    total = weights.sum(dim=1, keepdim=True)
    if not torch.isfinite(total).all() or (weights < 0).any():
        raise UsageError("expected weights of parts that are finite and >= 0; check the masks or the scheme")
    none = total <= 0
    # Weights that sum to 1 within rounding stay what they are, however often they are passed on.
    done = (total - 1).abs() <= 8 * torch.finfo(weights.dtype).eps
    return torch.where(none, 1 / weights.shape[1], weights / total.masked_fill(none | done, 1))
