"""Feature maps as a GPU kernel reads them: in their stored precision, scaled to unit length after multiplication."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps

TYPES = (torch.float16, torch.bfloat16, torch.float32)


@dataclass(frozen=True, eq=False)
class ScaledMaps:
    """Maps of n images, made once per set of images.

    Attributes:
        parts: (n, r, d), any of `TYPES`, not normalised, the last two axes contiguous.
        scale: (n, r) float32, the inverse length of each part.
        pooled: (n, d) float32 unit vectors.
    """

    parts: Float[Tensor, "n r d"]
    scale: Float[Tensor, "n r"]
    pooled: Float[Tensor, "n d"]

    @classmethod
    def of(cls, maps: FeatureMaps | Tensor | ScaledMaps) -> ScaledMaps:
        """From feature maps as they are stored, or from rows (n, r + 1, d), the last of which is the pooled vector.

        Half precision feature maps lose nothing: their products are exact in float32, where they are scaled. Unit
        vectors in half precision, in contrast, have been rounded by up to 5e-4 of each number.

        Raises:
            UsageError: a dtype other than `TYPES`.

        >>> ScaledMaps.of(FeatureMaps(torch.ones(2, 4, 9).half(), (2, 2))).scale[0, 0]
        tensor(0.3333)
        """
        if isinstance(maps, ScaledMaps):
            return maps
        parts, pooled = (maps[:, :-1], maps[:, -1]) if isinstance(maps, Tensor) else (maps.local, maps.pooled)
        if parts.dtype not in TYPES:
            raise UsageError(f"expected float16, bfloat16 or float32 for the CUDA kernel, got {parts.dtype}")
        if parts.stride()[1:] != (parts.shape[2], 1):
            parts = parts.contiguous()
        lengths = torch.linalg.vector_norm(parts, dim=2, dtype=torch.float32)
        return cls(parts, 1 / lengths.clamp(min=1e-12), F.normalize(pooled.float(), dim=-1).contiguous())

    def __len__(self) -> int:
        return self.parts.shape[0]

    def __getitem__(self, piece: slice) -> ScaledMaps:
        return ScaledMaps(self.parts[piece], self.scale[piece], self.pooled[piece])

    def unit(self) -> Float[Tensor, "n rows d"]:
        """(n, r + 1, d) float32: unit vectors, the pooled one last."""
        return torch.cat([self.parts.float() * self.scale[:, :, None], self.pooled[:, None]], dim=1)
