"""Feature maps prepared for matching: unit vectors, with the pooled one beside the parts."""

from __future__ import annotations

from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.kernels import PartWeights, choose_backend
from diml.matching.kernels.coded_maps import CodedMaps
from diml.matching.kernels.scaled_maps import ScaledMaps

# Devices where half precision maps are kept as they are, because the backend reads them in this form.
KEEPS_HALF = ("cuda",)
# Vectors outside these lengths are brought to the order of 1 before their length is computed.
SHORT, LONG = 1e-9, 1e18


class UnitMaps:
    """Feature maps of n images, with the work done that is needed once per image.

    Args:
        stored: the rows, or `ScaledMaps` or `CodedMaps`, from which the rows are computed when they are first used.
        weights: (n, r), float32 or better, of the parts; None if all count the same.
    """

    def __init__(self, stored: Tensor | ScaledMaps | CodedMaps, weights: Float[Tensor, "n r"] | None = None) -> None:
        self.stored = stored
        self.weights = weights

    @cached_property
    def rows(self) -> Float[Tensor, "n rows d"]:
        """(n, r + 1, d), float32 or float64: the unit vectors of the parts and, last, of the pooled vector.

        The product of two images' rows contains local similarities, correlations and the pooled similarity at once.
        """
        if isinstance(self.stored, CodedMaps):
            return _unit_rows(self.stored.maps())
        return self.stored.unit() if isinstance(self.stored, ScaledMaps) else self.stored

    @property
    def uncoded(self) -> Tensor | ScaledMaps:
        """What is stored, or the rows of codes."""
        return self.rows if isinstance(self.stored, CodedMaps) else self.stored

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, piece: slice) -> UnitMaps:
        return UnitMaps(self.stored[piece], None if self.weights is None else self.weights[piece])

    @property
    def parts(self) -> int:
        """r, without the pooled row."""
        return self._shape[1] - isinstance(self.stored, Tensor)

    @property
    def dim(self) -> int:
        return self._shape[2]

    @property
    def pooled(self) -> Float[Tensor, "n d"]:
        """(n, d): the unit pooled vectors."""
        return self.stored[:, -1] if isinstance(self.stored, Tensor) else self.stored.pooled

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the rows."""
        return self.stored.dtype if isinstance(self.stored, Tensor) else torch.float32

    @property
    def device(self) -> torch.device:
        return self.stored.parts.device if isinstance(self.stored, ScaledMaps) else self.stored.device

    @property
    def requires_grad(self) -> bool:
        return isinstance(self.stored, Tensor) and self.stored.requires_grad

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.stored.parts.shape if isinstance(self.stored, ScaledMaps) else self.stored.shape


def prepare(maps: FeatureMaps | CodedMaps | UnitMaps) -> UnitMaps:
    """Normalise the parts and the pooled vector of every image, in float32 or better.

    Prepare maps that are compared several times; prepared maps are returned as they are, and codes that a kernel reads
    stay codes.

    >>> import torch
    >>> prepare(FeatureMaps(torch.ones(5, 4, 3), (2, 2))).rows.shape
    torch.Size([5, 5, 3])
    """
    if isinstance(maps, UnitMaps):
        return maps
    if isinstance(maps, CodedMaps):
        return UnitMaps(maps, maps.weights) if choose_backend(maps.device) else prepare(maps.maps())
    # Plans are held fixed: the weights have a gradient through the pooled vector, but none as marginals.
    weights = None if maps.weights is None else maps.weights.detach()
    if torch.is_grad_enabled() and (maps.local.requires_grad or maps.pooled.requires_grad):
        dtype = torch.promote_types(maps.dtype, torch.float32)
        rows = F.normalize(torch.cat([maps.local.to(dtype), maps.pooled.to(dtype)[:, None]], dim=1), dim=-1)
        return UnitMaps(rows, weights)
    if maps.device.type in KEEPS_HALF and maps.dtype in (torch.float16, torch.bfloat16):
        return UnitMaps(ScaledMaps.of(maps.detach()), weights)
    return UnitMaps(_unit_rows(maps), weights)


def _unit_rows(maps: FeatureMaps) -> Float[Tensor, "n rows d"]:
    """The numbers of `F.normalize`, computed in place and without a gradient."""
    dtype = torch.promote_types(maps.dtype, torch.float32)
    rows = torch.empty(len(maps), maps.parts + 1, maps.dim, dtype=dtype, device=maps.device)
    rows[:, :-1], rows[:, -1] = maps.local, maps.pooled
    lengths = torch.linalg.vector_norm(rows, dim=-1)
    odd = (lengths < SHORT) | (lengths > LONG)
    if odd.any():  # the squares of these leave the range of float32
        rows[odd] /= rows[odd].abs().amax(dim=-1, keepdim=True).clamp_(min=torch.finfo(dtype).tiny)
        lengths[odd] = torch.linalg.vector_norm(rows[odd], dim=-1)
    rows /= lengths.clamp_(min=1e-12)[:, :, None]
    return rows


def weights_of(a: UnitMaps, b: UnitMaps) -> PartWeights | None:
    """The part weights of both sides; a side without any counts its parts alike. None if neither has any."""
    if a.weights is None and b.weights is None:
        return None
    of_a, of_b = (_weights_or_uniform(side) for side in (a, b))
    return PartWeights(of_a, of_b)


def _weights_or_uniform(side: UnitMaps) -> Tensor:
    if side.weights is not None:
        return side.weights
    return torch.full((len(side), side.parts), 1 / side.parts, dtype=side.dtype, device=side.device)


def both(maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | CodedMaps | UnitMaps) -> tuple[UnitMaps, UnitMaps]:
    """Both sides prepared, in one dtype; the same object for both if the same maps were given.

    Raises:
        UsageError: maps of different dims.
    """
    a = prepare(maps_a)
    b = a if maps_b is maps_a else prepare(maps_b)
    if b is a:
        return a, a
    if a.dim != b.dim:
        raise UsageError(f"expected maps of one dim, got dim {a.dim} and dim {b.dim}; embed both with the same model")
    if a.dtype == b.dtype:
        return a, b
    dtype = torch.promote_types(a.dtype, b.dtype)
    return UnitMaps(a.rows.to(dtype), a.weights), UnitMaps(b.rows.to(dtype), b.weights)
