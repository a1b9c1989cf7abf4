"""Pixels in the input size of a model, and how to hide cells of them: for occlusion, deletion and gradients."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel

# Standard deviation of the blur, as a share of the shorter side: 11 pixels of 224.
BLUR = 0.05

Pixels = Float[Tensor, "3 H W"]


def in_input_size(model: StructuralModel) -> StructuralModel:
    """The same model, sharing its weights, for images that already have its input size: it crops nothing."""
    pixels = dataclasses.replace(model.encoder.preprocessing, fit="whole")
    return model.replace(encoder=model.encoder.replace(preprocessing=pixels).eval())


def as_the_model_sees(model: StructuralModel, image: Image.Image | Tensor) -> Image.Image:
    """An RGB image or a tensor (3, H, W) as an image in the model's input size, after any crop."""
    values = model.encoder.preprocessing(image).values
    if values.dtype != torch.uint8:
        values = (255 * values.float()).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(values.permute(1, 2, 0).contiguous().numpy())


def input_pixels(model: StructuralModel, image: Image.Image) -> Pixels:
    """The pixels of an image in the model's input size, (3, H, W), 0..1, before normalisation."""
    values = model.encoder.preprocessing(image).values
    return values.float() / 255 if values.dtype == torch.uint8 else values.float()


@torch.no_grad()
def embed_pixels(model: StructuralModel, pixels: Float[Tensor, "n 3 H W"], batch_size: int = 32) -> FeatureMaps:
    """Feature maps of pixels 0..1 in the model's input size, in batches, without gradients or geometry."""
    encoder = model.encoder.eval()
    return FeatureMaps.cat(
        [encoder(encoder.preprocessing.normalise(some.to(encoder.device))) for some in torch.split(pixels, batch_size)]
    )


def blurred(pixels: Pixels) -> Pixels:
    """The image blurred by a Gaussian whose standard deviation is `BLUR` times the shorter side."""
    from torchvision.transforms.functional import gaussian_blur  # type: ignore[import-untyped]

    shorter = min(pixels.shape[1:])
    # Two standard deviations to each side, but no further than the border can be mirrored.
    reach = min(max(1, round(2 * BLUR * shorter)), shorter - 1)
    soft: Pixels = gaussian_blur(pixels, [2 * reach + 1, 2 * reach + 1], [BLUR * shorter, BLUR * shorter])
    return soft


def mean_colour(pixels: Pixels) -> Pixels:
    """Every pixel set to the mean colour of the image."""
    return pixels.mean(dim=(1, 2), keepdim=True).expand_as(pixels)


FILLS: Mapping[str, Callable[[Pixels], Pixels]] = {"blur": blurred, "mean": mean_colour}


def filling(name: str) -> Callable[[Pixels], Pixels]:
    """The fill of that name: from an image to what replaces its hidden pixels.

    Raises:
        UsageError: an unknown name.
    """
    if name not in FILLS:
        raise UsageError(f"expected one of the fills {', '.join(FILLS)}, got {name!r}")
    return FILLS[name]


def cell_of_pixels(grid: tuple[int, int], size: tuple[int, int]) -> Int[Tensor, "H W"]:
    """The number of the grid cell that each pixel lies in, by its centre.

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
    """n copies of the image, (n, 3, H, W), each with its cells replaced by those of `filled`."""
    height, width = pixels.shape[1:]
    mask = cells[:, cell_of_pixels(grid, (height, width))][:, None]
    return torch.where(mask, filled, pixels)
