"""Transparent images: the ground that they are laid on, chosen so that what they show stands out from it."""

from __future__ import annotations

import numpy as np
from PIL import Image

Colour = tuple[int, int, int]

WHITE: Colour = (255, 255, 255)
BLACK: Colour = (0, 0, 0)
# A pixel stands out from white where one of its channels is lower by this much, of 255 ...
CONTRAST = 32
# ... and an image does where so much of what it shows does; otherwise its ground is black.
SHARE = 0.05
# Longer side of the image that the ground is chosen on.
SIDE = 512


def on_ground(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    """RGB colours of a transparent image, laid on the ground that its own colours choose.

    Args:
        colours: RGB.
        alpha: L, from 0, transparent, to 255, opaque.
    """
    if alpha.getextrema() == (255, 255):
        return colours
    opaque = colours.convert("RGBA")
    opaque.putalpha(alpha)
    ground = Image.new("RGBA", colours.size, ground_of(colours, alpha))
    return Image.alpha_composite(ground, opaque).convert("RGB")


def ground_of(colours: Image.Image, alpha: Image.Image) -> Colour:
    """White, or black where white would hide the image: where less than 5 % of what it shows stands out from white.

    Every pixel counts by its alpha, and stands out from white if its lowest channel is at most 255 - 32.

    >>> opaque = Image.new("L", (4, 4), 255)
    >>> ground_of(Image.new("RGB", (4, 4), "red"), opaque), ground_of(Image.new("RGB", (4, 4), "white"), opaque)
    ((255, 255, 255), (0, 0, 0))
    """
    factor = max(1, -(-max(colours.size) // SIDE))
    if factor > 1:
        # Nearest neighbours: a mean with the colour of transparent pixels, which is arbitrary, would be another colour.
        size = (max(1, colours.width // factor), max(1, colours.height // factor))
        colours, alpha = (each.resize(size, Image.Resampling.NEAREST) for each in (colours, alpha))
    weight = np.asarray(alpha, dtype=np.float64)
    stands_out = np.asarray(colours).min(axis=2) <= 255 - CONTRAST
    total = weight.sum()
    return WHITE if total == 0 or (weight * stands_out).sum() >= SHARE * total else BLACK
