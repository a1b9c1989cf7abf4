"""What requests may ask for, checked against the limits of the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from diml.errors import UsageError
from diml.query_text import parse_region, parse_search_shortlist
from diml.search import Index
from diml.service.filters import check_filter
from diml.service.settings import ServiceSettings

K, SHORTLIST = 10, 100
Region = tuple[tuple[float, float, float, float], float]


@dataclass(frozen=True)
class SearchRequest:
    """What a search asks for, beside its image."""

    k: int
    shortlist: int | Literal["all", "proven"]
    where: str | None
    explain: int


def search_request(
    settings: ServiceSettings, index: Index, k: int | None, shortlist: str | None, where: str | None, explain: int
) -> SearchRequest:
    """Check what a search asks for; by default 10 hits of a shortlist of 100, or as many as are allowed.

    Raises:
        UsageError: more than the service allows, or nothing that makes sense.
    """
    k = min(K, settings.k) if k is None else k
    within(k, "k", 1, settings.k)
    within(explain, "explain", 0, settings.k)
    limit = min(SHORTLIST, settings.shortlist) if not shortlist else parse_search_shortlist(shortlist, "shortlist")
    if isinstance(limit, str) and not settings.shortlist_all:
        raise UsageError(f"this service does not match all images; expected a shortlist up to {settings.shortlist}")
    if isinstance(limit, int):
        within(limit, "shortlist", 0, settings.shortlist)
    return SearchRequest(k, limit, condition(settings, index, where), explain)


def condition(settings: ServiceSettings, index: Index, where: str | None) -> str | None:
    """A condition that is allowed; None for an empty one, as a form sends it.

    Raises:
        UsageError: it has another form than those that are allowed.
    """
    if where is None or not where.strip():
        return None
    return check_filter(where, index.columns, length=settings.filter_length)


def regions_of(settings: ServiceSettings, texts: Sequence[str]) -> list[Region]:
    """The regions of a part query; an empty field, as forms send it where nothing was entered, is none.

    Raises:
        UsageError: too many, or one that is not four numbers.
    """
    texts = [text for text in texts if text]
    within(len(texts), "the number of regions", 0, settings.regions)
    return [parse_region(text, "region") for text in texts]


def within(value: int, name: str, least: int, most: int) -> None:
    """Refuse a number that is out of its range.

    >>> within(5000, "k", 1, 1000)
    Traceback (most recent call last):
    diml.errors.UsageError: expected k from 1 to 1000, got 5000
    """
    if not least <= value <= most:
        raise UsageError(f"expected {name} from {least} to {most}, got {value}")
