"""What people write for a search: regions and shortlists."""

from __future__ import annotations

from typing import Literal

from diml.errors import UsageError


def parse_region(text: str, name: str = "--region") -> tuple[tuple[float, float, float, float], float]:
    """A box `x0, y0, x1, y1` in pixels, and its weight, by default 1.

    Args:
        name: what the text was given for, in the message of an error.

    >>> parse_region("0,0,64,48"), parse_region("8.5,0,64,48:2")
    (((0.0, 0.0, 64.0, 48.0), 1.0), ((8.5, 0.0, 64.0, 48.0), 2.0))
    """
    edges, colon, weight = text.partition(":")
    try:
        x0, y0, x1, y1 = (float(edge) for edge in edges.split(","))
        return (x0, y0, x1, y1), float(weight) if colon else 1.0
    except ValueError:
        raise UsageError(f"expected {name} to be x0,y0,x1,y1 in pixels, or x0,y0,x1,y1:weight, got {text}") from None


def parse_search_shortlist(text: str, name: str = "--shortlist") -> int | Literal["all", "proven"]:
    """How many images of an index are re-ranked.

    >>> parse_search_shortlist("proven"), parse_search_shortlist("0")
    ('proven', 0)
    """
    if text.lower() == "proven":
        return "proven"
    return _shortlist(text, f"expected {name} to be 0 (no re-ranking), a positive number, all or proven")


def parse_shortlist(text: str, name: str = "--shortlist") -> int | Literal["all"]:
    """How many images are re-ranked.

    >>> parse_shortlist("100"), parse_shortlist("all")
    (100, 'all')
    """
    return _shortlist(text, f"expected {name} to be 0 (no re-ranking), a positive number or all")


def _shortlist(text: str, expected: str) -> int | Literal["all"]:
    if text.lower() == "all":
        return "all"
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"{expected}, got {text}")
    return int(text)
