"""Whole numbers as users give them: `2`, `2.0` or a number of NumPy or PyTorch, and a sentence for anything else."""

from __future__ import annotations

from typing import SupportsIndex

from diml.errors import UsageError


def whole(value: SupportsIndex | float, name: str, least: int, other: str = "") -> int:
    """The number, as an int.

    Args:
        value: the number.
        name: what the message calls it.
        least: the smallest number allowed.
        other: what else is allowed, for the message.

    Raises:
        UsageError: it is not a whole number, or below `least`.

    >>> whole(2.0, "k", 1)
    2
    >>> whole(2.5, "k", 1)
    Traceback (most recent call last):
    diml.errors.UsageError: expected a whole number for k, got 2.5
    """
    allowed = f" or {other}" if other else ""
    try:
        number = int(value) if not isinstance(value, str) and float(value).is_integer() else None
    except (TypeError, ValueError, RuntimeError):
        number = None
    if number is None:
        raise UsageError(f"expected a whole number{allowed} for {name}, got {value!r}")
    if number < least:
        raise UsageError(f"expected {name} >= {least}{allowed}, got {number}")
    return number
