"""Colour profiles: from the colours of an embedded ICC profile to sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from diml.data.png_metadata import MAX_PROFILE

# By the colour space that a profile states, the mode of the images that it can be used for.
_MODES = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}
# Images are decoded in threads, so that a transform may not remember the colour that it converted last.
_FLAGS = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION
# A profile that changes no colour of the probe by more than this, of 255, is taken for sRGB.
_SAME = 2


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image as RGB in sRGB; a profile that is damaged, or does not fit the image, is ignored.

    Args:
        image: without transparency, of 8 bits.
        profile: an ICC profile of RGB, grey or CMYK colours; None for sRGB.
    """
    if image.mode == "LAB":
        return _applied(image, _from_lab())
    mode = _MODES.get(profile[16:20]) if profile and len(profile) <= MAX_PROFILE else None
    if profile is None or mode is None or not _fits(image.mode, mode):
        return image.convert("RGB")
    transform = _transform(profile, mode)
    if transform is None:
        return image.convert("RGB")
    return _applied(image if image.mode == mode else image.convert(mode), transform)


def _fits(mode: str, wanted: str) -> bool:
    if wanted == "RGB":
        return mode != "CMYK"
    return mode == wanted or (mode == "1" and wanted == "L")


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """None for a profile that cannot be used, or that changes nothing."""
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(given, _srgb(), mode, "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, _FLAGS)
        probe = _probe(mode)
        seen = np.asarray(_applied(probe, transform), dtype=int)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    changed = np.abs(seen - np.asarray(probe.convert("RGB"), dtype=int)).max()
    return None if changed <= _SAME else transform


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@lru_cache(maxsize=1)
def _from_lab() -> ImageCms.ImageCmsTransform:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    return ImageCms.buildTransform(lab, _srgb(), "LAB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC, _FLAGS)


def _probe(mode: str) -> Image.Image:
    """Colours from all over the space: 9 steps of each channel; all 256 greys."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    channels = len(mode)
    grid = np.stack(np.meshgrid(*[steps] * channels, indexing="ij"), axis=-1).reshape(1, -1, channels)
    return Image.frombytes(mode, (grid.shape[1], 1), grid.tobytes())
