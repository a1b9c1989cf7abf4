"""Controls: explanations that ignore the content of the images. A method that does not beat them shows nothing."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from diml.explanation.methods.method import MethodInput, MethodResult
from diml.feature_maps import FeatureMaps

LIMITATION = "it is a control and says nothing about these images"


@dataclass(frozen=True)
class RandomControl:
    """Random heats and a random correspondence, the same for the same pair and seed."""

    seed: int = 0
    name: str = "random"
    summary: ClassVar[str] = "random values"
    limitation: ClassVar[str] = LIMITATION
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def explain(self, pair: MethodInput) -> MethodResult:
        a, b = pair.maps_a, pair.maps_b
        generator = torch.Generator().manual_seed(self.seed + _digest(a) + 3 * _digest(b))
        heat_a = torch.rand(a.grid, generator=generator, dtype=torch.float64)
        heat_b = torch.rand(b.grid, generator=generator, dtype=torch.float64)
        correspondence = torch.rand(a.parts, b.parts, generator=generator, dtype=torch.float64)
        return MethodResult(heat_a, heat_b, correspondence, contributions=correspondence)


def _digest(maps: FeatureMaps) -> int:
    """A number computed from the maps, so that the values do not depend on what was explained before."""
    return zlib.crc32(maps.local.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())


@dataclass(frozen=True)
class CentreControl:
    """The bias of photographers: the middle matters most. Every part corresponds to the middle of b."""

    name: str = "centre"
    summary: ClassVar[str] = "the nearer a cell is to the middle, the higher its heat"
    limitation: ClassVar[str] = LIMITATION
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def explain(self, pair: MethodInput) -> MethodResult:
        heat_a, heat_b = centred(pair.maps_a.grid), centred(pair.maps_b.grid)
        parts = pair.maps_a.parts
        # On a side of even length both middle cells count, although rounding tells them apart.
        middle = (heat_b > heat_b.max() * (1 - 1e-9)).double().reshape(1, -1).expand(parts, -1)
        return MethodResult(heat_a, heat_b, middle / (parts * middle.sum(dim=1, keepdim=True)))


def centred(grid: tuple[int, int]) -> Float[Tensor, "h w"]:
    """A Gaussian about the middle of the grid, its standard deviation a quarter of each side.

    >>> centred((1, 3)).round(decimals=2)
    tensor([[0.4100, 1.0000, 0.4100]], dtype=torch.float64)
    """
    rows, columns = (((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5).square() for n in grid)
    return torch.exp(-(rows[:, None] + columns) / (2 * 0.25**2))


@dataclass(frozen=True)
class IdentityControl:
    """Nothing has moved: every cell corresponds to the cells at the same place of b, in proportion to shared area."""

    name: str = "identity"
    summary: ClassVar[str] = "every part with what lies at the same place in the other image"
    limitation: ClassVar[str] = LIMITATION
    heats: ClassVar[bool] = False
    corresponds: ClassVar[bool] = True

    def explain(self, pair: MethodInput) -> MethodResult:
        from diml.embedding.resampling import area_matrix

        rows, columns = (area_matrix(b, a) for a, b in zip(pair.maps_a.grid, pair.maps_b.grid, strict=True))
        return MethodResult(correspondence=torch.kron(rows, columns) / pair.maps_a.parts)
