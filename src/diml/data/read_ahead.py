"""Reading ahead where a network is waited for: many images at once, in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

# Images that are read at once.
AT_ONCE = 16

T = TypeVar("T")
R = TypeVar("R")


def read_ahead(
    values: Iterable[T], read: Callable[[T], R], distant: Callable[[T], bool], at_once: int = AT_ONCE
) -> Iterator[tuple[T, R]]:
    """Each value with what `read` makes of it, in order.

    Args:
        values: what to read.
        read: runs in a thread for distant values, otherwise here.
        distant: whether reading a value waits for a network.
        at_once: threads, and values that are read before they are asked for.

    >>> list(read_ahead(range(5), lambda n: n * n, lambda n: n > 2, at_once=2))
    [(0, 0), (1, 1), (2, 4), (3, 9), (4, 16)]
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool: ThreadPoolExecutor | None = None
    try:
        for value in values:
            if distant(value):
                pool = pool or ThreadPoolExecutor(at_once, thread_name_prefix="diml-read")
                waiting.append((value, pool.submit(read, value)))
                while len(waiting) >= at_once:
                    first, done = waiting.popleft()
                    yield first, done.result()
                continue
            while waiting:
                first, done = waiting.popleft()
                yield first, done.result()
            yield value, read(value)
        while waiting:
            first, done = waiting.popleft()
            yield first, done.result()
    finally:
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)
