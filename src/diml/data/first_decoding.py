"""Decoding 1, that of diml 0.1.0, which models and indices of that version keep."""

from __future__ import annotations

import numpy as np
from PIL import Image

from diml.data.numbers import scaled_numbers


def first_rgb(image: Image.Image) -> Image.Image:
    """An opened image as RGB: white below transparency, 16 bits in every 16-bit sample, no colour profiles."""
    image.load()
    if image.mode.startswith("I;16"):
        # Rounded in float32, as it was.
        scaled = np.asarray(image).astype(np.float32) * np.float32(255.0 / 65535.0)
        return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "I":
        return Image.fromarray(scaled_numbers(np.asarray(image), 65535.0)).convert("RGB")
    if image.mode == "F":
        return Image.fromarray(scaled_numbers(np.asarray(image), 1.0, 255.0)).convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("RGBA", "RGBa", "LA", "PA") or "transparency" in image.info:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image.convert("RGB")
