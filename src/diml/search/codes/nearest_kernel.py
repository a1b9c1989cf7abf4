"""The compiled search of the nearest centroid, as many centroids in step as a SIMD value has numbers."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching.kernels.compiling import FLOATS, INTS, Array, aligned, compiled
from diml.matching.kernels.lanes import WIDTH, at_most, every, every_at, fma, larger, load, select, store, wide
from diml.matching.kernels.threads import in_threads

# Points in one call of a thread.
PIECE = 4096


def nearest(points: Float[Tensor, "m n w"], centroids: Float[Tensor, "m k w"]) -> Int[Tensor, "m n"]:
    """As `product.nearest`, in float32."""
    sets, n, width = points.shape
    found = torch.empty(sets, n, dtype=torch.int64)
    beyond = -centroids.shape[1] % WIDTH
    halves = F.pad(centroids.square().sum(dim=2) / -2, (0, beyond), value=-torch.inf).numpy()
    across = F.pad(centroids.mT, (0, beyond)).contiguous().numpy()
    numbers, places = points.contiguous().numpy(), found.numpy()
    pieces = -(-n // PIECE)

    def piece(at: int) -> None:
        which, start = at // pieces, at % pieces * PIECE
        some = numbers[which, start : start + PIECE]
        to, size = places[which, start : start + PIECE], (len(some), width, halves.shape[1])
        nearest_of_set(some.reshape(-1), across[which].reshape(-1), halves[which], *size, aligned(3 * WIDTH), to)

    in_threads(piece, range(sets * pieces), sets * n)
    return found


@compiled(f"void({FLOATS}, {FLOATS}, {FLOATS}, int64, int64, int64, {FLOATS}, {INTS})")
def nearest_of_set(
    points: Array, centroids: Array, minus_half: Array, n: int, width: int, padded: int, room: Array, found: Array
) -> None:
    """The centroid of the largest `<x, c> - |c|^2 / 2`, the first of several, for each of n points.

    `centroids` are (width, padded), number by number; `minus_half` is -infinity for those that only fill.
    """
    wide()
    step = every(np.float32(WIDTH))
    for lane in range(WIDTH):
        room[2 * WIDTH + lane] = lane
    for point in range(n):
        best, number, place = every(np.float32(-np.inf)), load(room, 2 * WIDTH), load(room, 2 * WIDTH)
        for k in range(0, padded, WIDTH):
            score = load(minus_half, k)
            for axis in range(width):
                score = fma(every_at(points, point * width + axis), load(centroids, axis * padded + k), score)
            number = select(at_most(score, best), number, place)
            best = larger(best, score)
            place = place + step
        store(room, 0, best)
        store(room, WIDTH, number)
        most, first = room[0], room[WIDTH]
        for lane in range(1, WIDTH):
            if room[lane] > most or (room[lane] == most and room[WIDTH + lane] < first):
                most, first = room[lane], room[WIDTH + lane]
        found[point] = np.int64(first)
