"""The compiled pooling of parts: one image after the other, whose distances are kept and only those to a new mean are
computed again."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching.kernels.compiling import BORDER, FLOATS, INTS, Array, aligned, compiled
from diml.matching.kernels.lanes import WIDTH, every, fma, load, store, total, wide
from diml.matching.kernels.threads import in_threads
from diml.search.codes.pooling import LEAST_MASS

# Images in one call of a thread.
PIECE = 256


def pooled_parts(
    local: Float[Tensor, "n r d"], weights: Float[Tensor, "n r"], kept: int
) -> tuple[Float[Tensor, "n k d"], Int[Tensor, "n r"]]:
    """As `pooling.pooled_parts`, in float32."""
    n, parts, dim = local.shape
    padded = -(-dim // WIDTH) * WIDTH
    vectors, which = torch.empty(n, kept, dim), torch.empty(n, parts, dtype=torch.int64)
    arrays = [x.detach().contiguous().numpy() for x in (local, weights.to(local.dtype))]
    found = [x.numpy() for x in (vectors, which)]

    def piece(at: int) -> None:
        given, to = ([x[at : at + PIECE].reshape(-1) for x in some] for some in (arrays, found))
        room = aligned(parts * padded + BORDER), aligned(parts), aligned(parts * parts), np.zeros(parts, np.int64)
        pooled(*given, min(PIECE, n - at), parts, dim, kept, *room, *to)

    in_threads(piece, range(0, n, PIECE), n)
    return vectors, which


@compiled(f"void({FLOATS}, {FLOATS}, int64, int64, int64, int64, {FLOATS})")
def measure(vectors: Array, mass: Array, one: int, first: int, parts: int, padded: int, costs: Array) -> None:
    """What joining a vector with each from `first` on adds to the squared error."""
    wide()
    for other in range(first, parts):
        squares = every(np.float32(0))
        for k in range(0, padded, WIDTH):
            apart = load(vectors, one * padded + k) - load(vectors, other * padded + k)
            squares = fma(apart, apart, squares)
        cost = total(squares) * (mass[one] * mass[other] / (mass[one] + mass[other]))
        costs[min(one, other) * parts + max(one, other)] = cost


@compiled(f"void({FLOATS}, {FLOATS}, int64, int64, int64)")
def join(vectors: Array, mass: Array, one: int, two: int, padded: int) -> None:
    """The weighted mean of two vectors in place of the first."""
    wide()
    of_one, of_two, both = every(mass[one]), every(mass[two]), every(mass[one] + mass[two])
    for k in range(0, padded, WIDTH):
        sums = of_one * load(vectors, one * padded + k) + of_two * load(vectors, two * padded + k)
        store(vectors, one * padded + k, sums / both)
    mass[one] += mass[two]


@compiled(f"UniTuple(int64, 2)({FLOATS}, {INTS}, int64, int64)")
def cheapest(costs: Array, which: Array, own: int, parts: int) -> tuple[int, int]:
    """The two vectors of the least cost, the first of several; two in any case, whatever the numbers are."""
    least, one, two = np.float32(np.inf), -1, -1
    for i in range(parts):
        if which[own + i] != i:  # joined with another
            continue
        for j in range(i + 1, parts):
            if which[own + j] == j and (two < 0 or costs[i * parts + j] < least):
                least, one, two = costs[i * parts + j], i, j
    return one, two


@compiled(f"void({FLOATS}, {INTS}, int64, int64, int64, int64, {INTS}, {FLOATS}, int64)")
def write(
    vectors: Array, which: Array, own: int, parts: int, dim: int, padded: int, numbers: Array, out: Array, to: int
) -> None:
    """The vectors that are left, in the order of their first parts, and their numbers in place of these parts."""
    left = 0
    for part in range(parts):
        if which[own + part] == part:
            numbers[part] = left
            for k in range(dim):
                out[to + left * dim + k] = vectors[part * padded + k]
            left += 1
    for part in range(parts):
        which[own + part] = numbers[which[own + part]]


@compiled(
    f"void({FLOATS}, {FLOATS}, int64, int64, int64, int64, {FLOATS}, {FLOATS}, {FLOATS}, {INTS}, {FLOATS}, {INTS})"
)
def pooled(
    local: Array,
    weights: Array,
    n: int,
    parts: int,
    dim: int,
    kept: int,
    vectors: Array,
    mass: Array,
    costs: Array,
    numbers: Array,
    out: Array,
    which: Array,
) -> None:
    """The vectors (n, kept, dim) that are left and which of them each part has."""
    padded = -(-dim // WIDTH) * WIDTH
    for image in range(n):
        own = image * parts
        for part in range(parts):
            for k in range(dim):
                vectors[part * padded + k] = local[(own + part) * dim + k]
            mass[part] = max(weights[own + part], np.float32(LEAST_MASS))
            which[own + part] = part
        for part in range(parts - 1):
            measure(vectors, mass, part, part + 1, parts, padded, costs)
        for _ in range(parts - kept):
            one, two = cheapest(costs, which, own, parts)
            join(vectors, mass, one, two, padded)
            measure(vectors, mass, one, 0, parts, padded, costs)
            for part in range(parts):
                if which[own + part] == two:
                    which[own + part] = one
        write(vectors, which, own, parts, dim, padded, numbers, out, image * kept * dim)
