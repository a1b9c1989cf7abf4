"""The compiled decoding of whole numbers of 8 and 4 bits."""

from __future__ import annotations

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diml.matching.kernels.compiling import FLOATS, Array, compiled
from diml.matching.kernels.lanes_codes import BYTES, nibbles, wholes
from diml.matching.kernels.threads import in_threads

# Vectors in one call of a thread.
PIECE = 8192


def vectors(rows: UInt8[Tensor, "n size"], kept: int, dim: int, bits: int) -> Float[Tensor, "n kept d"]:
    """The `kept` vectors that each row begins with, as `Whole.decode` gives them."""
    rows = rows.contiguous()
    n, size = rows.shape
    found = torch.empty(n, kept, dim)
    codes, numbers, step = rows.numpy().reshape(-1), found.numpy().reshape(-1), max(1, PIECE // kept)

    def piece(start: int) -> None:
        end = min(start + step, n)
        some = numbers[start * kept * dim : end * kept * dim]
        decode(codes[start * size : end * size], size, end - start, kept, dim, bits == 4, some)

    in_threads(piece, range(0, n, step), n * kept)
    return found


@compiled(f"void({BYTES}, int64, int64, int64, int64, boolean, {FLOATS})")
def decode(codes: Array, size: int, n: int, kept: int, dim: int, four: bool, out: Array) -> None:
    for row in range(n):
        some = out[row * kept * dim : (row + 1) * kept * dim]
        if four:
            nibbles(codes, row * size, kept, dim, dim, some)
        else:
            wholes(codes, row * size, kept, dim, dim, some)
