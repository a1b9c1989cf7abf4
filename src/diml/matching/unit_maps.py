"""Feature maps made ready to be matched: unit vectors, the pooled one beside the parts."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.kernels.scaled_maps import ScaledMaps

# Where maps in half precision stay as they are, because the kernel there reads them so.
KEEPS_HALF = ("cuda",)
# Vectors beyond these lengths are brought to the order of 1 before their length is taken.
SHORT, LONG = 1e-9, 1e18


class UnitMaps:
    """Feature maps with the work that is done once per image done.

    Args:
        held: the rows, or `ScaledMaps`, from which they are made when they are asked for.
    """

    def __init__(self, held: Tensor | ScaledMaps) -> None:
        self.held = held

    @cached_property
    def rows(self) -> Float[Tensor, "n rows d"]:
        """(n, r + 1, d), float32 or float64: the unit vectors of the parts and, last, of the pooled vector.

        The product of two images' rows then holds local similarities, correlations and the pooled similarity at once.
        """
        return self.held.unit() if isinstance(self.held, ScaledMaps) else self.held

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, piece: slice) -> UnitMaps:
        return UnitMaps(self.held[piece])

    @property
    def parts(self) -> int:
        return self._like.shape[1] - (not isinstance(self.held, ScaledMaps))

    @property
    def dim(self) -> int:
        return self._like.shape[2]

    @property
    def pooled(self) -> Float[Tensor, "n d"]:
        """(n, d): the unit pooled vectors."""
        return self.held.pooled if isinstance(self.held, ScaledMaps) else self.held[:, -1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return torch.float32 if isinstance(self.held, ScaledMaps) else self.held.dtype

    @property
    def device(self) -> torch.device:
        return self._like.device

    @property
    def requires_grad(self) -> bool:
        return self._like.requires_grad

    @property
    def _like(self) -> Tensor:
        return self.held.parts if isinstance(self.held, ScaledMaps) else self.held


def prepare(maps: FeatureMaps | UnitMaps) -> UnitMaps:
    """Normalise the parts and the pooled vector of every image, in float32 or better.

    >>> import torch
    >>> prepare(FeatureMaps(torch.ones(5, 4, 3), (2, 2))).rows.shape
    torch.Size([5, 5, 3])
    """
    if isinstance(maps, UnitMaps):
        return maps
    dtype = torch.promote_types(maps.dtype, torch.float32)
    local, pooled = maps.local, maps.pooled
    if torch.is_grad_enabled() and (local.requires_grad or pooled.requires_grad):
        return UnitMaps(F.normalize(torch.cat([local.to(dtype), pooled.to(dtype)[:, None]], dim=1), dim=-1))
    if maps.device.type in KEEPS_HALF and maps.dtype in (torch.float16, torch.bfloat16):
        return UnitMaps(ScaledMaps.of(maps.detach()))
    # The same numbers, in place.
    rows = torch.empty(len(maps), maps.parts + 1, maps.dim, dtype=dtype, device=maps.device)
    rows[:, :-1], rows[:, -1] = local, pooled
    lengths = torch.linalg.vector_norm(rows, dim=-1)
    odd = (lengths < SHORT) | (lengths > LONG)
    if odd.any():  # their squares leave the range of float32
        rows[odd] /= rows[odd].abs().amax(dim=-1, keepdim=True).clamp_(min=torch.finfo(dtype).tiny)
        lengths[odd] = torch.linalg.vector_norm(rows[odd], dim=-1)
    rows /= lengths.clamp_(min=1e-12)[:, :, None]
    return UnitMaps(rows)


def both(maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | UnitMaps) -> tuple[UnitMaps, UnitMaps]:
    """Both prepared, in one type; the same object where the same maps came.

    Raises:
        UsageError: maps of different dims.
    """
    a = prepare(maps_a)
    b = a if maps_b is maps_a else prepare(maps_b)
    if b is a:
        return a, a
    if a.dim != b.dim:
        raise UsageError(f"maps of dim {a.dim} came to be matched with maps of dim {b.dim}; embed both alike")
    if a.dtype == b.dtype:
        return a, b
    dtype = torch.promote_types(a.dtype, b.dtype)
    return UnitMaps(a.rows.to(dtype)), UnitMaps(b.rows.to(dtype))
