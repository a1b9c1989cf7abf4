"""The number of hits that a search takes."""

from __future__ import annotations

from typing import SupportsIndex

from diml.whole_numbers import whole


def check_k(k: SupportsIndex | float) -> int:
    """Number of hits.

    Raises:
        UsageError: not a whole number, or below 1.

    >>> check_k(2.0)
    2
    """
    return whole(k, "k", 1)
