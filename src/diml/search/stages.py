"""The stages of a search, reported to whoever wants to know how long each of them takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Report = Callable[[str, float], None]
_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def reporting(report: Report) -> Iterator[None]:
    """Within the block, and in this thread or task only, call `report(stage, seconds)` at the end of each stage.

    `coarse` reads the rows whose pooled vectors are nearest, `fetch` makes feature maps of them, and `match` compares
    the shortlist and solves the plans of the hits. A search that matches all images reads them within `match`.

    >>> found = []
    >>> with reporting(lambda name, seconds: found.append(name)), stage("coarse"):
    ...     pass
    >>> found
    ['coarse']
    """
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Report how long the block takes, also where it fails; nothing where nobody asked."""
    report, start = _report.get(), time.perf_counter()
    try:
        yield
    finally:
        if report is not None:
            report(name, time.perf_counter() - start)
