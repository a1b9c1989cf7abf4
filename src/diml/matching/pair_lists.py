"""Lists of pairs of images: checked, of a whole matrix, and cut into tiles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.matching.kernels import as_int64
from diml.matching.transport import CHUNK

Indices = tuple[Int[Tensor, " p"], Int[Tensor, " p"]]

# Pairs whose indices exist at once where a whole matrix is computed.
BLOCK = 64 * CHUNK
# Images on each side of a tile: a megabyte of scores.
SIDE = 512


@dataclass(frozen=True, eq=False)
class Tile:
    """Similarities of some images of a, `rows`, with some of b, `columns`."""

    rows: slice
    columns: slice
    similarity: Float[Tensor, "n m"]


def pair_lists(i: Tensor, j: Tensor, device: torch.device) -> Indices:
    """Indices of pairs, flat, int64, on a device.

    Raises:
        UsageError: lists of different length, or indices that are not whole numbers.
    """
    i, j = (as_int64(index).to(device).reshape(-1) for index in (i, j))
    if len(i) != len(j):
        raise UsageError(f"expected as many images of a as of b to form pairs, got {len(i)} and {len(j)}")
    return i, j


def all_pairs(n: int, m: int, device: torch.device, block: int | None = None) -> Iterator[Indices]:
    """Index lists of all pairs of n and m images, row by row, some rows of the matrix at a time."""
    for start, rows in _row_blocks(n, m, block):
        i = torch.arange(start, start + rows, device=device)
        yield i.repeat_interleave(m), torch.arange(m, device=device).repeat(rows)


def unordered_pairs(n: int, device: torch.device) -> Iterator[Indices]:
    """Index lists of the pairs i <= j of n images, row by row, some rows of the matrix at a time."""
    for start, rows in _row_blocks(n, n):
        i, j = torch.triu_indices(rows, n - start, device=device)
        yield i + start, j + start


def tile_slices(n: int, m: int, side: int, upper: bool) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of the tiles of an (n, m) matrix; with `upper` those on and above the diagonal only."""
    for top in range(0, n, side):
        for left in range(top if upper else 0, m, side):
            yield slice(top, min(top + side, n)), slice(left, min(left + side, m))


def _row_blocks(n: int, m: int, block: int | None = None) -> Iterator[tuple[int, int]]:
    block = block or max(1, BLOCK // max(m, 1))
    for start in range(0, n, block):
        yield start, min(block, n - start)
