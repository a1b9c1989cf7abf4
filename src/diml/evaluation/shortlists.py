"""Shortlists: how many images of a coarse ranking are re-ranked by their parts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, SupportsIndex

from diml.errors import UsageError
from diml.whole_numbers import whole

# Number of images to re-rank; "all" matches every image by its parts.
Shortlist = int | Literal["all"]


def check_shortlist(shortlist: SupportsIndex | float | str) -> Shortlist:
    """Number of images to re-rank, or "all".

    Raises:
        UsageError: neither "all" nor a whole number >= 0.

    >>> check_shortlist(100.0), check_shortlist("all")
    (100, 'all')
    """
    if isinstance(shortlist, str) and shortlist == "all":
        return "all"
    return whole(shortlist, "shortlist", 0, "'all'")  # type: ignore[arg-type]  # a string is refused there


def check_shortlists(
    shortlists: SupportsIndex | float | str | Iterable[SupportsIndex | float | str],
) -> list[Shortlist]:
    """One or several shortlists, as a list without repetition.

    Raises:
        UsageError: one of them is neither "all" nor a whole number >= 0, or there are none.

    >>> check_shortlists([0, 100.0, 0]), check_shortlists("all")
    ([0, 100], ['all'])
    """
    given = shortlists if isinstance(shortlists, Iterable) and not isinstance(shortlists, str) else [shortlists]
    checked = list(dict.fromkeys(check_shortlist(each) for each in given))
    if not checked:
        raise UsageError("expected at least one shortlist, got none; use 0 for the pooled ranking")
    return checked
