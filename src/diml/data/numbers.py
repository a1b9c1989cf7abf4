"""Images of numbers instead of colours: floating point and 32-bit integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from diml.data.located import UnusableError


def scaled_numbers(values: npt.NDArray[Any], *tops: float) -> npt.NDArray[np.uint8]:
    """Grey values on the first of the scales 0 to `top` that contains them all, otherwise on their own range.

    >>> scaled_numbers(np.array([0.0, 0.5, 1.0]), 1.0, 255.0).tolist()
    [0, 128, 255]
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UnusableError("has pixels that are not finite numbers (NaN or infinite); replace these values first")
    fitting = [top for top in tops if low >= 0 and high <= top]
    bottom, top = (0.0, fitting[0]) if fitting else (low, high)
    scaled = (values.astype(np.float64) - bottom) * (255.0 / max(top - bottom, 1e-12))
    return np.rint(scaled).clip(0, 255).astype(np.uint8)
