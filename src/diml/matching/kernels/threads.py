"""Pieces of work for as many threads as PyTorch uses, by compiled code that releases the interpreter lock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import torch

# Less work than this, in pairs, is finished before a second thread has started.
ALONE = 512


def in_threads(piece: Callable[[int], None], pieces: Iterable[int], pairs: int) -> None:
    """Do each piece. The threads end with the call, so it may be called from several threads and after a fork."""
    threads, pieces = torch.get_num_threads(), list(pieces)
    if threads == 1 or len(pieces) < 2 or pairs < ALONE:
        for at in pieces:
            piece(at)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(piece, pieces):
            pass
