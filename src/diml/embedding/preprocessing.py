"""From an image to a model's input pixels, with a record of the part of the original that they show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from diml.errors import ImageError, UsageError
from diml.image_sizes import Wanted, original_of

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class Pixels(NamedTuple):
    """The input pixels of one image.

    Attributes:
        values: (3, H, W) in the model's size, uint8 0..255 or float 0..1, not yet normalised.
        size: width and height of the original, after its EXIF orientation.
        visible: `x0, y0, x1, y1` in pixels of the original: the rectangle that the values show.
    """

    values: Shaped[Tensor, "3 h w"]
    size: tuple[int, int]
    visible: tuple[float, float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """How images are turned into a model's input pixels.

    Args:
        size: height and width of the model's input.
        mean, std: per channel, of values 0..1.
        interpolation: nearest, bilinear, bicubic or lanczos, with antialiasing.
        fit: `"whole"` resizes the whole image to the input: nothing is cut off, the aspect ratio is not kept, and boxes
            take this into account; `"crop"` resizes the shorter side to `size / crop` and takes the centre, as in the
            paper's protocol (256, then 224).
        crop: share of the resized image that the centre crop keeps, for `fit="crop"`.
        decoding: version of the decoding of image files, 1 to 3, see `diml.data.open_image`. Models that were saved
            before there were versions have 1.
        bit_depth: bits of the samples in 16-bit images, 1 to 16, where the files do not say it; None for 16.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    fit: Literal["whole", "crop"] = "whole"
    crop: float = 0.875
    decoding: int = 3
    bit_depth: int | None = None

    def __post_init__(self) -> None:
        if len(self.size) != 2 or not all(isinstance(side, int) and side > 0 for side in self.size):
            raise UsageError(f"expected size to be the height and width of the input in pixels, got {self.size}")
        if len(self.mean) != 3 or len(self.std) != 3 or not all(value > 0 for value in self.std):
            raise UsageError(
                f"expected mean and std of three numbers each, std above 0, got {self.mean} and {self.std}"
            )
        if self.interpolation not in _FILTERS:
            raise UsageError(f"expected interpolation to be one of {', '.join(_FILTERS)}, got {self.interpolation!r}")
        if self.fit not in ("whole", "crop"):
            raise UsageError(f"expected fit to be whole or crop, got {self.fit!r}")
        if not 0 < self.crop <= 1:
            raise UsageError(f"expected crop to be a share above 0 and up to 1, got {self.crop}")
        if self.decoding not in (1, 2, 3):
            raise UsageError(f"expected decoding to be 1, 2 or 3, got {self.decoding!r}")
        self._check_bit_depth()

    def __call__(self, image: Image.Image | Shaped[Tensor, "c h w"]) -> Pixels:
        """Resize one image (RGB and upright, or a tensor) and record which part of it is visible.

        Of an image that was decoded smaller than it is (`diml.data.original_of`), this is in pixels of the original.

        >>> Preprocessing(size=(8, 8))(Image.new("RGB", (100, 50))).visible
        (0.0, 0.0, 100.0, 50.0)
        >>> Preprocessing(size=(8, 8), fit="crop", crop=1.0)(Image.new("RGB", (100, 50))).visible
        (25.0, 0.0, 75.0, 50.0)
        """
        if isinstance(image, Tensor):
            image = _checked(image)
            width, height = image.shape[2], image.shape[1]
        else:
            width, height = original_of(image).size
        to_width, to_height, left, top = self._plan(width, height)
        resized = self._resize(image, to_width, to_height)
        rows, columns = self.size
        values = resized[:, top : top + rows, left : left + columns]
        x, y = width / to_width, height / to_height
        return Pixels(values, (width, height), (left * x, top * y, (left + columns) * x, (top + rows) * y))

    @property
    def wanted(self) -> Wanted:
        """What images are resized to, for `diml.data.open_image`."""
        rows, columns = self.size
        return Wanted(columns, rows, None if self.fit == "whole" else self.crop)

    def _check_bit_depth(self) -> None:
        if self.bit_depth is None:
            return
        if not isinstance(self.bit_depth, int) or not 1 <= self.bit_depth <= 16:
            raise UsageError(f"expected bit_depth to be a whole number from 1 to 16, got {self.bit_depth!r}")
        if self.decoding == 1:
            raise UsageError("expected decoding 2 or 3 for a bit_depth, got decoding 1; leave bit_depth out")

    def _plan(self, width: int, height: int) -> tuple[int, int, int, int]:
        """The size to resize to, and the left and top of the input in it."""
        rows, columns = self.size
        to_width, to_height = self.wanted((width, height))
        return to_width, to_height, (to_width - columns) // 2, (to_height - rows) // 2

    def _resize(self, image: Image.Image | Tensor, width: int, height: int) -> Tensor:
        if isinstance(image, Tensor):
            mode = self.interpolation if self.interpolation in ("bilinear", "bicubic") else "bicubic"
            resized = F.interpolate(image[None], size=(height, width), mode=mode, antialias=True)[0]
            return resized.clamp(0, 1)
        resized_image = image.resize((width, height), _FILTERS[self.interpolation], original_of(image).box)
        flat = torch.frombuffer(bytearray(resized_image.tobytes()), dtype=torch.uint8)
        return flat.reshape(height, width, 3).permute(2, 0, 1)

    def normalise(self, values: Shaped[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
        """Values 0..255 (uint8) or 0..1 (float) normalised for the model, `(value - mean) / std`."""
        scaled = values.float() / 255 if values.dtype == torch.uint8 else values.float()
        mean, std = scaled.new_tensor(self.mean)[:, None, None], scaled.new_tensor(self.std)[:, None, None]
        return (scaled - mean) / std


def _checked(image: Tensor) -> Float[Tensor, "3 h w"]:
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ImageError(f"expected an image tensor of shape (3, H, W) or (1, H, W), got {tuple(image.shape)}")
    if image.dtype == torch.uint8:
        image = image.float() / 255
    elif not image.is_floating_point():
        raise ImageError(f"expected an image tensor of uint8 0..255 or floats 0..1, got {image.dtype}")
    image = image.float()
    if not torch.isfinite(image).all():
        raise ImageError(
            "expected an image tensor of finite values, got NaN or infinity; replace these pixels before embedding"
        )
    if image.min() < -1e-3 or image.max() > 1 + 1e-3:
        raise ImageError(
            f"expected a float image tensor of values 0..1, got {image.min():.3g} to {image.max():.3g}; "
            "do not normalise it"
        )
    return image.clamp(0, 1).expand(3, -1, -1)
