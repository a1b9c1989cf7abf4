"""How alike two photographs are as pixels: copies that were scaled or stored again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 16
CORRELATION = 0.98
DIFFERENCE = 8.0


@dataclass(frozen=True)
class Alike:
    """Two images of a list, the correlation of their small copies, and the mean difference of these in grey values."""

    first: int
    second: int
    correlation: float
    difference: float

    @property
    def near_duplicates(self) -> bool:
        return self.correlation > CORRELATION and self.difference < DIFFERENCE


def small(image: Image.Image) -> NDArray[np.float64]:
    """The image as 16 x 16 x 3 numbers, 0..255, flat; small changes of size, quality and frame hardly change them."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX), np.float64).ravel()


def most_alike(copies: NDArray[np.float64], n: int) -> list[Alike]:
    """The n pairs with the largest correlation, largest first.

    Args:
        copies: (images, 768) from `small`.

    >>> rows = np.random.default_rng(0).uniform(0, 255, (3, 768))
    >>> rows[2] = rows[0] + 1
    >>> found = most_alike(rows, 1)[0]
    >>> found.first, found.second, found.near_duplicates, round(found.difference, 3)
    (0, 2, True, 1.0)
    """
    centred = copies - copies.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.maximum(length, 1e-9)  # an image of one colour is like no other
    first, second = np.triu_indices(len(copies), 1)
    correlation = (unit @ unit.T)[first, second]
    return [
        Alike(
            int(first[k]),
            int(second[k]),
            float(correlation[k]),
            float(np.abs(copies[first[k]] - copies[second[k]]).mean()),
        )
        for k in np.argsort(-correlation, kind="stable")[:n]
    ]
