"""The compiled reading of codes: unit rows of some images, into memory that the matching of these images reads next.

An image is read in three calls: its vectors are decoded; their mass is summed over the parts that share them; and the
rows of the parts and of the mean are written, each scaled to unit length. A function of its own for each, and loops
inside of it, as passing an array costs as much as decoding a vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diml.matching.kernels.coded_maps import CENTROIDS, NIBBLE
from diml.matching.kernels.compiling import FLOATS, INTS, Array, compiled
from diml.matching.kernels.lanes import WIDTH, copy4, copy8, every, fma, load, store, total, wide
from diml.matching.kernels.lanes_reading import bytes_at, half_at, halves_at, nibbles_at

HALF, WHOLE8, WHOLE4, PRODUCT = 0, 1, 2, 3
# Codes may be memory of a file, which is not to be written.
BYTES = "Array(uint8, 1, 'C', readonly=True)"
# Shorter and longer vectors are brought to the order of 1 before their length is computed, as in `unit_maps`.
LEAST_SQUARE, MOST_SQUARE = 1e-18, 1e36
LEAST_PEAK, LEAST_LENGTH = 1.1754944e-38, 1e-12


@compiled(f"void({BYTES}, int64, int64, int64, int64, {FLOATS})")
def halves(codes: Array, at: int, kept: int, dim: int, padded: int, out: Array) -> None:
    wide()
    full = dim - dim % WIDTH
    for to in range(0, kept * padded, padded):
        for k in range(0, full, WIDTH):
            store(out, to + k, halves_at(codes, at + 2 * k))
        for k in range(full, dim):
            out[to + k] = half_at(codes, at + 2 * k)
        at += 2 * dim


@compiled(f"void({BYTES}, int64, int64, int64, int64, {FLOATS})")
def wholes(codes: Array, at: int, kept: int, dim: int, padded: int, out: Array) -> None:
    wide()
    full = dim - dim % WIDTH
    for to in range(0, kept * padded, padded):
        scale = half_at(codes, at)
        scales = every(scale)
        at += 2
        for k in range(0, full, WIDTH):
            store(out, to + k, bytes_at(codes, at + k) * scales)
        for k in range(full, dim):
            out[to + k] = np.float32(np.int8(codes[at + k])) * scale
        at += dim


@compiled(f"void({BYTES}, int64, int64, int64, int64, {FLOATS})")
def nibbles(codes: Array, at: int, kept: int, dim: int, padded: int, out: Array) -> None:
    wide()
    full = dim - dim % WIDTH
    for to in range(0, kept * padded, padded):
        scale = half_at(codes, at)
        scales = every(scale)
        at += 2
        for k in range(0, full, WIDTH):
            store(out, to + k, nibbles_at(codes, at + k // 2) * scales)
        for k in range(full, dim):
            number = np.int64(codes[at + k // 2]) >> (k % 2 * 4) & 15
            out[to + k] = np.float32(number - 8) * scale
        at += (dim + 1) // 2


@compiled(f"void({BYTES}, int64, int64, int64, int64, int64, int64, {FLOATS}, {FLOATS})")
def products(
    codes: Array, at: int, kept: int, dim: int, padded: int, table: int, pieces: int, centroids: Array, out: Array
) -> None:
    """Some numbers are copied more than a piece has: they lie where the next piece is written."""
    wide()
    width = -(-dim // pieces)
    longer = dim - pieces * (width - 1)
    for to in range(0, kept * padded, padded):
        place = to
        for piece in range(pieces):
            start = ((table * pieces + piece) * CENTROIDS + np.int64(codes[at + piece])) * width
            if width <= 4:
                copy4(centroids, start, out, place)
            elif width <= 8:
                copy8(centroids, start, out, place)
            else:
                for k in range(0, width, WIDTH):
                    store(out, place + k, load(centroids, start + k))
            place += width if piece < longer else width - 1
        for k in range(to + dim, to + padded):
            out[k] = 0
        at += pieces


@compiled(f"void({BYTES}, int64, int64, int64, int64, {FLOATS}, int64, {INTS}, {FLOATS})")
def share(
    codes: Array, at: int, parts: int, kept: int, front: int, weights: Array, start: int, places: Array, mass: Array
) -> None:
    """Which vector each part has, and the weight of the parts that have a vector."""
    for k in range(kept):
        mass[k] = 0
    for part in range(parts):
        place = np.int64(part)
        if front and kept <= NIBBLE:
            place = np.int64(codes[at + part // 2]) >> (part % 2 * 4) & 15
        elif front:
            place = np.int64(codes[at + part])
        places[part] = place = min(place, np.int64(kept - 1))  # codes may be damaged
        mass[place] += weights[start + part] if len(weights) else np.float32(1) / np.float32(parts)
    places[parts] = kept


@compiled(f"void({FLOATS}, int64, int64, {FLOATS})")
def mean(vectors: Array, kept: int, padded: int, mass: Array) -> None:
    """The sum of vectors times their mass, behind them."""
    wide()
    for k in range(0, padded, WIDTH):
        found = every(np.float32(0))
        for at in range(kept):
            found = fma(every(mass[at]), load(vectors, at * padded + k), found)
        store(vectors, kept * padded + k, found)


@compiled(f"void({FLOATS}, int64, int64, int64, {FLOATS})")
def invert(vectors: Array, first: int, end: int, padded: int, inverse: Array) -> None:
    """Inverse lengths, at most 1e12; odd vectors are scaled to the order of 1 first."""
    wide()
    for at in range(first, end):
        start = at * padded
        square = np.float32(0)
        for attempt in range(2):
            squares = every(np.float32(0))
            for k in range(start, start + padded, WIDTH):
                some = load(vectors, k)
                squares = fma(some, some, squares)
            square = total(squares)
            if attempt == 1 or not (square < LEAST_SQUARE or square > MOST_SQUARE):
                break
            peak = np.float32(LEAST_PEAK)
            for k in range(start, start + padded):
                peak = max(peak, abs(vectors[k]))
            for k in range(start, start + padded):
                vectors[k] /= peak
        inverse[at] = np.float32(1) / max(np.sqrt(square), np.float32(LEAST_LENGTH))


@compiled(f"void({FLOATS}, {INTS}, int64, int64, int64, int64, {FLOATS}, {FLOATS}, int64)")
def scaled(
    vectors: Array, places: Array, first: int, end: int, dim: int, padded: int, inverse: Array, out: Array, to: int
) -> None:
    """Rows of unit length. WIDTH numbers are written at a time: those beyond a row lie where the next is written."""
    wide()
    for part in range(first, end):
        start, scale = places[part] * padded, every(inverse[places[part]])
        for k in range(0, padded, WIDTH):
            store(out, to + k, load(vectors, start + k) * scale)
        to += dim


@compiled(
    f"void({BYTES}, int64, {INTS}, int64, UniTuple(int64, 4), UniTuple(int64, 3), {FLOATS}, {FLOATS}, {FLOATS}, "
    f"boolean, {FLOATS}, {FLOATS}, {INTS}, {FLOATS})"
)
def unit_rows(
    codes: Array,
    size: int,
    images: Array,
    form: int,
    shape: Any,
    product: Any,
    centroids: Array,
    weights: Array,
    own_pooled: Array,
    pooled_only: bool,
    vectors: Array,
    mass: Array,
    places: Array,
    out: Array,
) -> None:
    """The unit rows of some images, one after the other: those of the parts and, last, that of the pooled vector.

    `codes` are `size` bytes an image. `shape` is parts, kept, dim, and bytes of the places in front; `product` pieces
    of a vector, tables of centroids, and whether an image ends with the number of its table. `weights` and `own_pooled`
    are of all images, or empty. `vectors` has memory for kept + 1 padded vectors, with zeros where they are padded.
    `vectors`, `centroids` and `out` have sixteen numbers more than are used.
    """
    parts, kept, dim, front = shape
    pieces, tables, tagged = product
    padded = -(-dim // WIDTH) * WIDTH
    pooled = kept * padded
    first = parts if pooled_only else 0
    to = 0
    for n in range(len(images)):
        image = images[n]
        at = image * size
        if form == HALF:
            halves(codes, at + front, kept, dim, padded, vectors)
        elif form == WHOLE8:
            wholes(codes, at + front, kept, dim, padded, vectors)
        elif form == WHOLE4:
            nibbles(codes, at + front, kept, dim, padded, vectors)
        else:
            table = 0
            if tagged:
                table = min(np.int64(codes[at + size - 2]) + 256 * np.int64(codes[at + size - 1]), tables - 1)
            products(codes, at + front, kept, dim, padded, table, pieces, centroids, vectors)
        share(codes, at, parts, kept, front, weights, image * parts, places, mass)
        if len(own_pooled):
            for k in range(dim):
                vectors[pooled + k] = own_pooled[image * dim + k]
            for k in range(dim, padded):
                vectors[pooled + k] = 0
        else:
            mean(vectors, kept, padded, mass)
        invert(vectors, kept if pooled_only else 0, kept + 1, padded, mass)
        scaled(vectors, places, first, parts + 1, dim, padded, mass, out, to)
        to += (parts + 1 - first) * dim
