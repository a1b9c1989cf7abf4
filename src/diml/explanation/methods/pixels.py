"""Pixels that a model sees, with cells of them hidden: what occlusion, deletion and gradients work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from diml.embedding import Encoder
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel

# Standard deviation of the blur, as a share of the shorter side: 11 pixels of 224.
BLUR = 0.05

Pixels = Float[Tensor, "3 H W"]


def in_input_size(model: StructuralModel) -> StructuralModel:
    """The same model, sharing its weights, for images that already have its input size: it crops nothing."""
    old = model.encoder
    pixels = dataclasses.replace(old.preprocessing, fit="whole")
    encoder = Encoder(old.backbone, pixels, old.head, old.grid, old.resampling)
    return StructuralModel(encoder.eval(), model.matcher, model.name, model.head_fitted_on)


def as_the_model_sees(model: StructuralModel, image: Image.Image) -> Image.Image:
    """An RGB image in the model's input size, after any crop."""
    values = model.encoder.preprocessing(image).values
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())


def input_pixels(model: StructuralModel, image: Image.Image) -> Pixels:
    """The pixels of an image in the model's input size, 0..1, not yet normalised."""
    values = model.encoder.preprocessing(image).values
    return values.float() / 255 if values.dtype == torch.uint8 else values.float()


@torch.no_grad()
def embed_pixels(model: StructuralModel, pixels: Float[Tensor, "n 3 H W"], batch_size: int = 32) -> FeatureMaps:
    """Feature maps of pixels 0..1 in the model's input size, in batches, without gradient or geometry."""
    encoder = model.encoder.eval()
    return FeatureMaps.cat(
        [encoder(encoder.preprocessing.normalise(some.to(encoder.device))) for some in torch.split(pixels, batch_size)]
    )


def blurred(pixels: Pixels) -> Pixels:
    """Out of focus: a Gaussian whose standard deviation is `BLUR` of the shorter side."""
    from torchvision.transforms.functional import gaussian_blur  # type: ignore[import-untyped]

    shorter = min(pixels.shape[1:])
    # Two standard deviations to each side, as far as the border can be mirrored.
    reach = min(max(1, round(2 * BLUR * shorter)), shorter - 1)
    soft: Pixels = gaussian_blur(pixels, [2 * reach + 1, 2 * reach + 1], [BLUR * shorter, BLUR * shorter])
    return soft


def mean_colour(pixels: Pixels) -> Pixels:
    """Every pixel the mean of the image."""
    return pixels.mean(dim=(1, 2), keepdim=True).expand_as(pixels)


FILLS: Mapping[str, Callable[[Pixels], Pixels]] = {"blur": blurred, "mean": mean_colour}


def filling(name: str) -> Callable[[Pixels], Pixels]:
    """What takes the place of hidden pixels, by name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in FILLS:
        raise UsageError(f"the fill {name!r} came; expected one of {', '.join(FILLS)}")
    return FILLS[name]


def cell_of_pixels(grid: tuple[int, int], size: tuple[int, int]) -> Int[Tensor, "H W"]:
    """Which cell of the grid each pixel lies in, by its centre.

    >>> cell_of_pixels((1, 2), (2, 4))
    tensor([[0, 0, 1, 1],
            [0, 0, 1, 1]])
    """
    rows, columns = (
        ((torch.arange(pixels, dtype=torch.float64) + 0.5) * cells / pixels).long()
        for cells, pixels in zip(grid, size, strict=True)
    )
    return rows[:, None] * grid[1] + columns


def hidden(pixels: Pixels, filled: Pixels, cells: Bool[Tensor, "n r"], grid: tuple[int, int]) -> Tensor:
    """(n, 3, H, W): the image with the chosen cells replaced by what fills them, n times."""
    height, width = pixels.shape[1:]
    mask = cells[:, cell_of_pixels(grid, (height, width))][:, None]
    return torch.where(mask, filled, pixels)
