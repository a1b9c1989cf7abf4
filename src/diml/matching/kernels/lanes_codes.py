"""The compiled reading of codes: unit rows of some images, into memory that the matching of these images reads next."""

from __future__ import annotations

from typing import Any

import numpy as np

from diml.matching.kernels.compiling import FLOATS, INTS, Array, compiled, inlined
from diml.matching.kernels.lanes import WIDTH, bytes_at, every, fma, halves_at, load, nibbles_at, store, wide

HALF, WHOLE8, WHOLE4, PRODUCT = 0, 1, 2, 3
# Codes may be memory of a file, which is not to be written.
BYTES = "Array(uint8, 1, 'C', readonly=True)"
# Shorter and longer vectors are brought to the order of 1 before their length is computed, as in `unit_maps`.
LEAST_SQUARE, MOST_SQUARE = 1e-18, 1e36
LEAST_PEAK, LEAST_LENGTH = 1.1754944e-38, 1e-12
CENTROIDS = 256


@inlined
def _half(codes: Array, at: int) -> float:
    """A single float16 number."""
    bits = np.int64(codes[at]) + 256 * np.int64(codes[at + 1])
    exponent, fraction = bits >> 10 & 31, np.float32(bits & 1023)
    if exponent == 31:
        number = np.float32(np.inf) if fraction == 0 else np.float32(np.nan)
    elif exponent == 0:
        number = fraction * np.float32(2.0**-24)
    else:
        number = (fraction + np.float32(1024)) * np.float32(np.int64(1) << exponent) * np.float32(2.0**-25)
    return -number if bits & 0x8000 else number


@inlined
def _halves(codes: Array, at: int, dim: int, out: Array, to: int) -> None:
    full = dim - dim % WIDTH
    for k in range(0, full, WIDTH):
        store(out, to + k, halves_at(codes, at + 2 * k))
    for k in range(full, dim):
        out[to + k] = _half(codes, at + 2 * k)


@inlined
def _wholes(codes: Array, at: int, dim: int, out: Array, to: int) -> None:
    full = dim - dim % WIDTH
    scale = _half(codes, at)
    scales = every(scale)
    for k in range(0, full, WIDTH):
        store(out, to + k, bytes_at(codes, at + 2 + k) * scales)
    for k in range(full, dim):
        out[to + k] = np.float32(np.int8(codes[at + 2 + k])) * scale


@inlined
def _nibbles(codes: Array, at: int, dim: int, out: Array, to: int) -> None:
    full = dim - dim % WIDTH
    scale = _half(codes, at)
    scales = every(scale)
    for k in range(0, full, WIDTH):
        store(out, to + k, nibbles_at(codes, at + 2 + k // 2) * scales)
    for k in range(full, dim):
        number = np.int64(codes[at + 2 + k // 2]) >> (k % 2 * 4) & 15
        out[to + k] = np.float32(number - 8) * scale


@inlined
def _centroids(
    codes: Array, at: int, dim: int, centroids: Array, table: int, pieces: int, width: int, out: Array, to: int
) -> None:
    """Sixteen numbers of a centroid are copied at a time: those beyond it lie where the next piece is written."""
    longer = dim - pieces * (width - 1)
    place = to
    for piece in range(pieces):
        start = ((table * pieces + piece) * CENTROIDS + np.int64(codes[at + piece])) * width
        for k in range(0, width, WIDTH):
            store(out, place + k, load(centroids, start + k))
        place += width if piece < longer else width - 1


@inlined
def _square(vectors: Array, start: int, size: int, scratch: Array) -> float:
    """The squared length."""
    total = every(np.float32(0))
    for k in range(0, size, WIDTH):
        some = load(vectors, start + k)
        total = fma(some, some, total)
    store(scratch, 0, total)
    square = np.float32(0)
    for lane in range(WIDTH):
        square += scratch[lane]
    return square


@compiled(f"float32({FLOATS}, int64, int64, {FLOATS})")
def per_length(vectors: Array, start: int, size: int, scratch: Array) -> float:
    """The inverse length of a vector of `size` numbers, at most 1e12; odd ones are scaled to the order of 1 first."""
    wide()
    square = _square(vectors, start, size, scratch)
    if (square < LEAST_SQUARE or square > MOST_SQUARE) and square == square:
        peak = np.float32(LEAST_PEAK)
        for k in range(size):
            peak = max(peak, abs(vectors[start + k]))
        for k in range(size):
            vectors[start + k] /= peak
        square = _square(vectors, start, size, scratch)
    length = np.sqrt(square)
    return np.float32(1) / max(length, np.float32(LEAST_LENGTH))


@compiled(f"void({BYTES}, int64, int64, int64, int64, {FLOATS}, int64, int64, int64, {FLOATS})")
def vector(
    codes: Array, at: int, form: int, dim: int, padded: int, centroids: Array, table: int, pieces: int, to: int,
    out: Array,
) -> None:  # fmt: skip
    """Decode the vector at a byte to `out[to : to + padded]`, with zeros behind its `dim` numbers."""
    wide()
    width = -(-dim // max(pieces, 1))
    if form == HALF:
        _halves(codes, at, dim, out, to)
    elif form == WHOLE8:
        _wholes(codes, at, dim, out, to)
    elif form == WHOLE4:
        _nibbles(codes, at, dim, out, to)
    else:
        _centroids(codes, at, dim, centroids, table, pieces, width, out, to)
    for k in range(dim, padded):
        out[to + k] = 0


@inlined
def _which(codes: Array, at: int, part: int, kept: int, places: int) -> int:
    """The vector of a part; of damaged codes one that exists."""
    if places == 0:
        return part
    number = np.int64(codes[at + part // 2]) >> (part % 2 * 4) & 15 if kept <= WIDTH else np.int64(codes[at + part])
    return min(number, kept - 1)


@inlined
def _mean(vectors: Array, kept: int, padded: int, mass: Array) -> None:
    """The sum of vectors times their mass, behind them."""
    for k in range(0, padded, WIDTH):
        total = every(np.float32(0))
        for at in range(kept):
            total = fma(every(mass[at]), load(vectors, at * padded + k), total)
        store(vectors, kept * padded + k, total)


@compiled(
    f"void({BYTES}, int64, {INTS}, int64, UniTuple(int64, 5), UniTuple(int64, 3), {FLOATS}, {FLOATS}, {FLOATS}, "
    f"boolean, {FLOATS}, {FLOATS}, {INTS}, {FLOATS}, {FLOATS})"
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
    scratch: Array,
    out: Array,
) -> None:
    """The unit rows of some images, one after the other: those of the parts and, last, that of the pooled vector.

    `codes` are `size` bytes an image. `shape` is parts, kept, dim, bytes of the places in front, and those of a vector;
    `product` pieces of a vector, tables of centroids, and whether an image ends with the number of its table.
    `weights` and `own_pooled` are of all images, or empty. `vectors` has memory for kept + 1 padded vectors. `vectors`,
    `centroids` and `out` have sixteen numbers more than are used.
    """
    wide()
    parts, kept, dim, front, step = shape
    pieces, tables, tagged = product
    padded = -(-dim // WIDTH) * WIDTH
    to = 0
    for n in range(len(images)):
        image = images[n]
        at = image * size
        table = 0
        if tagged:
            end = at + size
            table = min(np.int64(codes[end - 2]) + 256 * np.int64(codes[end - 1]), tables - 1)
        for k in range(kept):
            vector(codes, at + front + k * step, form, dim, padded, centroids, table, pieces, k * padded, vectors)
            mass[k] = 0
        for part in range(parts):
            place = _which(codes, at, part, kept, front)
            places[part] = place
            mass[place] += weights[image * parts + part] if len(weights) else np.float32(1) / np.float32(parts)
        pooled = kept * padded
        if len(own_pooled):
            for k in range(dim):
                vectors[pooled + k] = own_pooled[image * dim + k]
            for k in range(dim, padded):
                vectors[pooled + k] = 0
        else:
            _mean(vectors, kept, padded, mass)
        if not pooled_only:
            for k in range(kept):
                mass[k] = per_length(vectors, k * padded, padded, scratch)
        mass[kept] = per_length(vectors, pooled, padded, scratch)
        places[parts] = kept
        # Sixteen numbers are written at a time: those beyond a row lie where the next one is written.
        for part in range(parts if pooled_only else 0, parts + 1):
            start, scale = places[part] * padded, every(mass[places[part]])
            for k in range(0, padded, WIDTH):
                store(out, to + k, load(vectors, start + k) * scale)
            to += dim
