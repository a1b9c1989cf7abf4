"""Controls: explanations that know nothing of the images. A method has to beat them to have said anything."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.explanation.methods.method import MethodResult, one_each
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True)
class RandomControl:
    """Chance: heats and a correspondence drawn at random, the same for the same pair and seed."""

    seed: int = 0
    name: str = "random"
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        one_each(maps_a, maps_b)
        generator = torch.Generator().manual_seed(self.seed + _digest(maps_a) + 3 * _digest(maps_b))
        heat_a = torch.rand(maps_a.grid, generator=generator, dtype=torch.float64)
        heat_b = torch.rand(maps_b.grid, generator=generator, dtype=torch.float64)
        pairs = torch.rand(maps_a.parts, maps_b.parts, generator=generator, dtype=torch.float64)
        return MethodResult(heat_a, heat_b, pairs)


def _digest(maps: FeatureMaps) -> int:
    """A number that follows from the maps, so that chance does not depend on what was explained before."""
    return zlib.crc32(maps.local.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())


@dataclass(frozen=True)
class CentreControl:
    """What photographers do: the middle matters most. Every part corresponds with the middle of b."""

    name: str = "centre"
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        one_each(maps_a, maps_b)
        heat_a, heat_b = centred(maps_a.grid), centred(maps_b.grid)
        # Of an even side both middle cells count, though rounding tells them apart.
        middle = (heat_b > heat_b.max() * (1 - 1e-9)).double().reshape(1, -1).expand(maps_a.parts, -1)
        return MethodResult(heat_a, heat_b, middle / (maps_a.parts * middle.sum(dim=1, keepdim=True)))


def centred(grid: tuple[int, int]) -> Float[Tensor, "h w"]:
    """A Gaussian about the middle of the grid, its standard deviation a quarter of each side.

    >>> centred((1, 3)).round(decimals=2)
    tensor([[0.4100, 1.0000, 0.4100]], dtype=torch.float64)
    """
    rows, columns = (((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5).square() for n in grid)
    return torch.exp(-(rows[:, None] + columns) / (2 * 0.25**2))


@dataclass(frozen=True)
class IdentityControl:
    """Nothing has moved: every cell corresponds with the cell at the same place of b, by the area they share."""

    name: str = "identity"
    heats: ClassVar[bool] = False
    corresponds: ClassVar[bool] = True

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        from diml.embedding.resampling import area_matrix

        one_each(maps_a, maps_b)
        rows, columns = (area_matrix(b, a) for a, b in zip(maps_a.grid, maps_b.grid, strict=True))
        return MethodResult(correspondence=torch.kron(rows, columns) / maps_a.parts)
