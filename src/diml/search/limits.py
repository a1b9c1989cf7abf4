"""The numbers that a search takes: how many hits, and how many images to re-rank."""

from __future__ import annotations

from typing import Any, Literal, SupportsIndex

from diml.errors import UsageError

# Number of images to re-rank; "all" matches every candidate by its parts.
Shortlist = int | Literal["all"]


def check_k(k: SupportsIndex | float) -> int:
    """Number of hits.

    Raises:
        UsageError: not a whole number, or below 1.

    >>> check_k(2.0)
    2
    """
    return _whole(k, "k", 1)


def check_shortlist(shortlist: SupportsIndex | float | str) -> Shortlist:
    """Number of images to re-rank, or "all".

    Raises:
        UsageError: neither "all" nor a whole number >= 0.

    >>> check_shortlist(100.0), check_shortlist("all")
    (100, 'all')
    """
    return "all" if isinstance(shortlist, str) and shortlist == "all" else _whole(shortlist, "shortlist", 0)


def _whole(value: Any, name: str, least: int) -> int:
    other = " or 'all'" if least == 0 else ""
    try:
        number = int(value) if float(value).is_integer() and not isinstance(value, str) else None
    except (TypeError, ValueError):
        number = None
    if number is None:
        raise UsageError(f"expected a whole number{other} for {name}, got {value!r}")
    if number < least:
        raise UsageError(f"expected {name} >= {least}{other}, got {number}")
    return number
