"""Sketches: a quarter of a map, and how far it is from the map, from which an upper bound of a similarity follows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.search.codes.vectors import Whole, as_halves

# Images that are encoded at once: memory of this size is used again, where fresh memory takes longer than computing.
PIECE = 256


@dataclass(frozen=True)
class Sketch:
    """What is known of n images.

    Attributes:
        vectors: near the unit vectors of the parts.
        radius: no less than the distance of each from its unit vector.
        slack: no less than what the pooled similarity may be above that of the stored pooled vector, which is of the
            map before it was rounded to float16.
    """

    vectors: Float[Tensor, "n r d"]
    radius: Float[Tensor, "n r"]
    slack: Float[Tensor, " n"]

    def likeness(self, units: Float[Tensor, "r_a d"]) -> Float[Tensor, "n r_a r"]:
        """Upper bounds of the local similarities with the unit vectors of an image: `<a, c> + |b - c|`, at most 1."""
        return (units @ self.vectors.mT + self.radius[:, None]).clamp(max=1.0)


class Sketches:
    """Four bits for each number of the unit vectors of the parts.

    >>> maps = FeatureMaps(torch.eye(4)[None], (2, 2))
    >>> sketches = Sketches(4, 4)
    >>> sketch = sketches.decode(sketches.encode(maps, maps.pooled))
    >>> bool((sketch.likeness(torch.eye(4)) >= torch.eye(4)).all())
    True
    """

    def __init__(self, parts: int, dim: int) -> None:
        self.parts, self.code = parts, Whole(4, dim)
        self.bytes = parts * (self.code.bytes + 2) + 2

    def encode(self, maps: FeatureMaps, pooled: Float[Tensor, "n d"]) -> UInt8[Tensor, "n bytes"]:
        """Of maps as they are stored, and the pooled vectors that are stored beside them."""
        pieces = [slice(start, start + PIECE) for start in range(0, len(maps), PIECE)] or [slice(0)]
        return torch.cat([self._encode(maps[piece], pooled[piece]) for piece in pieces])

    def _encode(self, maps: FeatureMaps, pooled: Float[Tensor, "n d"]) -> UInt8[Tensor, "n bytes"]:
        n, units = len(maps), F.normalize(maps.local.float(), dim=2)
        codes = self.code.encode(units.flatten(0, 1))
        radius = (units - self.code.decode(codes).reshape(units.shape)).norm(dim=2)
        apart = F.normalize(maps.pooled.float(), dim=1) - F.normalize(pooled.float(), dim=1)
        lengths = _rounded_up(torch.cat([radius, apart.norm(dim=1, keepdim=True)], dim=1))
        return torch.cat([codes.reshape(n, -1), lengths.view(torch.uint8)], dim=1)

    def decode(self, sketches: UInt8[Tensor, "n bytes"]) -> Sketch:
        lengths = as_halves(sketches[:, self.parts * self.code.bytes :]).float()
        return Sketch(self.code.decode_rows(sketches, self.parts), lengths[:, :-1], lengths[:, -1])


def _rounded_up(lengths: Tensor) -> Tensor:
    """Float16 numbers that are no smaller, also after what float32 rounds in computing with them."""
    return (lengths * (1 + 2.0**-10) + 2.0**-14).half()
