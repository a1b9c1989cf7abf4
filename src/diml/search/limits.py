"""The number of hits that a search takes, and of images that it re-ranks."""

from __future__ import annotations

from typing import Literal, SupportsIndex

from diml.evaluation.shortlists import Shortlist, check_shortlist
from diml.whole_numbers import whole

# Number of images to re-rank; "all" matches every image, "proven" gives the same from the maps that may matter.
SearchShortlist = Shortlist | Literal["proven"]
EXHAUSTIVE = ("all", "proven")


def check_search_shortlist(shortlist: SupportsIndex | float | str) -> SearchShortlist:
    """Number of images to re-rank, "all" or "proven".

    Raises:
        UsageError: something else.

    >>> check_search_shortlist("proven"), check_search_shortlist(100.0)
    ('proven', 100)
    """
    return "proven" if isinstance(shortlist, str) and shortlist == "proven" else check_shortlist(shortlist)


def check_k(k: SupportsIndex | float) -> int:
    """Number of hits.

    Raises:
        UsageError: not a whole number, or below 1.

    >>> check_k(2.0)
    2
    """
    return whole(k, "k", 1)
