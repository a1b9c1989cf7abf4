"""The compiled coding and decoding of whole numbers of 8 and 4 bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from diml.matching.kernels.compiling import FLOATS, Array, aligned, compiled
from diml.matching.kernels.lanes import WIDTH, every, fma, larger, load, magnitude, smaller, store, total, wide
from diml.matching.kernels.lanes_codes import BYTES, nibbles, wholes
from diml.matching.kernels.threads import in_threads

# Vectors in one call of a thread.
PIECE = 8192
# Adding it to a smaller number and taking it away again rounds to whole numbers, halves to even ones: 1.5 * 2^23.
ROUNDING = np.float32(12582912.0)


def whole_numbers(
    vectors: Float[Tensor, "n d"], most: int, cuts: Sequence[float], tiny: float
) -> tuple[Float[Tensor, "n 1"], Int8[Tensor, "n d"]]:
    """The scale and the numbers of each vector, as `Whole.encode` finds them."""
    n, dim = vectors.shape
    padded = -(-dim // WIDTH) * WIDTH
    scales, numbers = torch.empty(n, 1), torch.empty(n, dim, dtype=torch.int8)
    given, found = vectors.detach().contiguous().numpy(), numbers.numpy()
    at_peak = np.array([most / cut for cut in cuts], np.float32)

    def piece(start: int) -> None:
        some, to = (x[start : start + PIECE].reshape(-1) for x in (given, found))
        of_some, room = scales.numpy()[start : start + PIECE, 0], aligned(3 * padded)
        encode(some, len(of_some), dim, padded, np.float32(most), at_peak, np.float32(tiny), room, of_some, to)

    in_threads(piece, range(0, n, PIECE), n)
    return scales, numbers


@compiled(f"void({FLOATS}, int64, int64, int64, float32, {FLOATS}, float32, {FLOATS}, {FLOATS}, int8[::1])")
def encode(
    vectors: Array,
    n: int,
    dim: int,
    padded: int,
    most: float,
    at_peak: Array,
    tiny: float,
    room: Array,
    scales: Array,
    numbers: Array,
) -> None:
    """`at_peak` are what the largest number of a vector becomes before it is cut to `most`, one for each step."""
    wide()
    rounding, top, bottom = every(ROUNDING), every(np.float32(most)), every(np.float32(-most))
    for at in range(n):
        for k in range(dim):
            room[k] = vectors[at * dim + k]
        peaks = every(np.float32(tiny))
        for k in range(0, padded, WIDTH):
            peaks = larger(magnitude(load(room, k)), peaks)
        store(room, padded, peaks)
        peak = room[padded]
        for lane in range(1, WIDTH):
            peak = max(peak, room[padded + lane])
        least, best = np.float32(np.inf), 0
        for step in range(len(at_peak)):
            # The numbers of this step are written where those of the best one are not.
            to = (2 if best == padded else 1) * padded
            factor = every(at_peak[step] / peak)
            products, squares = every(np.float32(0)), every(np.float32(0))
            for k in range(0, padded, WIDTH):
                some = load(room, k)
                whole = smaller(larger(some * factor + rounding - rounding, bottom), top)
                products, squares = fma(some, whole, products), fma(whole, whole, squares)
                store(room, to + k, whole)
            scale = total(products) / max(total(squares), np.float32(1))
            errors, scaled = every(np.float32(0)), every(-scale)
            for k in range(0, padded, WIDTH):
                apart = fma(scaled, load(room, to + k), load(room, k))
                errors = fma(apart, apart, errors)
            error = total(errors)
            if step == 0 or error < least:
                least, best, scales[at] = error, to, scale
        for k in range(dim):
            numbers[at * dim + k] = np.int8(room[best + k])


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
