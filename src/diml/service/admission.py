"""The number of requests in work: those beyond it are refused at once, so that nobody waits in vain."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diml.service.problems import RequestError


class Admission:
    """Places for requests.

    Args:
        limit: requests that are in work or wait.
        refused: called for each request that is refused.

    >>> admission = Admission(limit=1)
    >>> with admission.admitted():
    ...     admission.active
    1
    """

    def __init__(self, limit: int, refused: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self.active = 0
        self._refused = refused
        self._seconds = 0.1  # between two answers, a moving mean
        self._answered: float | None = None

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """A place for one request.

        Raises:
            RequestError: 429, all places are taken; its Retry-After is about the time in which they become free.
        """
        if self.active >= self.limit:
            self._refused()
            after = min(60, max(1, math.ceil(self.active * self._seconds)))
            raise RequestError(
                429,
                f"{self.active} requests are in work, as many as this service takes; ask again in {after} s",
                {"retry-after": str(after)},
            )
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._note()

    def _note(self) -> None:
        now = time.monotonic()
        if self._answered is not None and self.active:
            self._seconds += 0.1 * (min(now - self._answered, 60) - self._seconds)
        self._answered = now
