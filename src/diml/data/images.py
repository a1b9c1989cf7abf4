"""Image files as 8-bit RGB."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from PIL import Image

from diml.data.bit_depth import Samples, colours, grey, png_bits_of, samples_of
from diml.data.colour_profiles import to_srgb
from diml.data.drafts import draft, turned
from diml.data.first_decoding import first_rgb
from diml.data.located import Located, NamedBytes
from diml.data.numbers import scaled_numbers
from diml.data.opening import check_size, explained, opened
from diml.data.printable import printable
from diml.data.transparency import on_ground
from diml.files import AnyPath
from diml.image_sizes import Size, note_original, original_of

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_image(
    path: AnyPath | NamedBytes | Located,
    decoding: int = 3,
    bit_depth: int | None = None,
    max_pixels: int | None = None,
    wanted: Callable[[Size], Size] | None = None,
) -> Image.Image:
    """The image in a file, as 8-bit RGB in sRGB, upright.

    The EXIF orientation is applied, colours are converted from the embedded colour profile to sRGB, CMYK and palettes
    are converted, 16-bit and floating point values are scaled (see `to_rgb`), transparent pixels are laid on white, or
    on black where white would hide what the image shows, and the first frame of an animation is used. The formats read
    are JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, TGA and, if Pillow supports them, JPEG 2000 and AVIF; HEIC with
    pillow-heif (`pip install 'diml[heif]'`). Texts and profiles that are damaged or too large are ignored. Safe to call
    from many threads.

    Args:
        path: the file, its content in memory, or where the content lies in a larger file, a table or a store; the
            content decides on the format, not the ending.
        decoding: 1 decodes as diml 0.1.0 did: colour profiles are ignored, the ground is always white, and all 16 bits
            of a sample count. 2 always decodes all pixels; 3 takes account of `wanted`.
        bit_depth: bits of the samples in 16-bit images, 1 to 16; None for what the file says, or else 16.
        max_pixels: larger images are refused before a pixel is decoded; `MAX_PIXELS` by default.
        wanted: from the width and height of the upright image to those that it will be resized to. A JPEG is then
            decoded at the smallest of 1/2, 1/4 and 1/8 of its size that leaves at least twice as many pixels on both
            axes, or else completely. None decodes all pixels.

    Returns:
        An image of mode RGB without an open file. `diml.data.original_of` says what size it has in the file.

    Raises:
        ImageError: there is no such file, it is not a regular file, or it cannot be decoded completely. The message is
            one sentence that starts with the path.

    >>> open_image("missing.jpg")
    Traceback (most recent call last):
    diml.errors.ImageError: missing.jpg: there is no such file; check the path
    """
    with opened(path, max_pixels) as source:
        image, metadata = source.image, source.metadata
        if metadata.profile is not None:
            image.info["icc_profile"] = metadata.profile
        if decoding == 1:
            return _upright(image, first_rgb(image))
        original = draft(image, wanted, _orientation(image)) if decoding >= 3 and wanted is not None else None
        samples = samples_of(image, metadata.bits)
        rgb = _upright(image, _rgb(image, samples, bit_depth, source.file, printable(path)))
        if original is not None:
            note_original(rgb, original)
        return rgb


def to_rgb(image: Image.Image, decoding: int = 3, bit_depth: int | None = None) -> Image.Image:
    """An opened Pillow image as 8-bit RGB, upright, converted as `open_image` converts a file.

    16-bit integers are scaled by the range of their samples: that of `bit_depth`; or what the file states (sBIT of PNG,
    BitsPerSample or MaxSampleValue of TIFF), unless a value exceeds it; or else 0 to 65535. Floating point values are
    scaled from 0 to 1 if all lie in that range, from 0 to 255 if all lie in that one, and otherwise from the smallest
    to the largest; 32-bit integers likewise, from 0 to 65535 or from the smallest to the largest. The result has no
    EXIF data, so that its orientation cannot be applied twice. An image that `open_image` returned keeps what it was
    decoded from.

    Args:
        image: of any mode.
        decoding, bit_depth: see `open_image`.

    Raises:
        ImageError: the image cannot be decoded, has more than `MAX_PIXELS`, or has NaN or infinite pixels.

    >>> to_rgb(Image.new("I;16", (1, 1), 65535)).getpixel((0, 0))
    (255, 255, 255)
    >>> to_rgb(Image.new("I;16", (1, 1), 4095), bit_depth=12).getpixel((0, 0))
    (255, 255, 255)
    """
    name = getattr(image, "filename", "") or "the image"
    with explained(name):
        check_size(image)
        if decoding == 1:
            return _upright(image, first_rgb(image))
        samples = samples_of(image, png_bits_of(image))
        return _upright(image, _rgb(image, samples, bit_depth, None, printable(name)))


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of the image in a file, upright, without decoding it.

    Raises:
        ImageError: as `open_image`, as far as the file's header tells.
    """
    with opened(path) as source:
        return turned(source.image.size, _orientation(source.image))


def _upright(image: Image.Image, rgb: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    elif rgb is image:
        rgb = rgb.copy()
    original = original_of(image)
    rgb.info = {}
    note_original(rgb, original)
    return rgb


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, read after `load`, which applies it for TIFF; 1 (as stored) for damaged EXIF data."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        return 1


def _rgb(image: Image.Image, samples: Samples, bit_depth: int | None, file: BinaryIO | None, name: str) -> Image.Image:
    image.load()
    profile = image.info.get("icc_profile")
    shown, alpha = _shown_and_alpha(image, samples, bit_depth, file, name)
    rgb = to_srgb(shown, profile)
    return rgb if alpha is None else on_ground(rgb, alpha)


def _shown_and_alpha(
    image: Image.Image, samples: Samples, bit_depth: int | None, file: BinaryIO | None, name: str
) -> tuple[Image.Image, Image.Image | None]:
    """The image on 8 bits without its transparency, and that."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _from_numbers(image, samples, bit_depth, name)
    if samples.deep and image.mode in ("RGB", "RGBA"):
        deep = colours(image, file, samples, bit_depth, name)
        deep.info = image.info
        image = deep
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    if image.mode in ("RGBA", "RGBa", "PA") or "transparency" in image.info:
        whole = image.convert("RGBA")
        return whole.convert("RGB"), whole.getchannel("A")
    return image, None


def _from_numbers(
    image: Image.Image, samples: Samples, bit_depth: int | None, name: str
) -> tuple[Image.Image, Image.Image | None]:
    values = np.asarray(image)
    clear = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)) if isinstance(clear, int) else None
    if image.mode == "F":
        return Image.fromarray(scaled_numbers(values, 1.0, 255.0)), alpha
    if samples.deep and values.min(initial=0) >= 0 and values.max(initial=0) < 2**16:
        return Image.fromarray(grey(values, samples, bit_depth, name)), alpha
    return Image.fromarray(scaled_numbers(values, 65535.0)), alpha
