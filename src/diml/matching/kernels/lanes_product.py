"""The products of a block of pairs of maps, one pair in each lane: `s[i, j, lane] = sum_k a[i, k] b[k, j, lane]`."""

from __future__ import annotations

from diml.matching.kernels.compiling import FLOATS, INTS, Array, compiled
from diml.matching.kernels.lanes import WIDTH, copy, transposed, wide
from diml.matching.kernels.lanes_tile import COLUMNS, LONG, ROWS, cell, long_column, long_row, tile


@compiled(f"void({FLOATS}, {INTS}, int64, int64, {FLOATS})")
def pack(rows: Array, offsets: Array, parts: int, dim: int, packed: Array) -> None:
    """`packed[k, part, lane] = rows[offsets[lane] + part * dim + k]`."""
    wide()
    stride = parts * WIDTH
    for part in range(parts):
        for k in range(0, dim - WIDTH + 1, WIDTH):
            transposed(rows, offsets, part * dim + k, packed, k * stride + part * WIDTH, stride)
        for k in range(dim - dim % WIDTH, dim):
            for lane in range(WIDTH):
                packed[k * stride + part * WIDTH + lane] = rows[offsets[lane] + part * dim + k]


@compiled(f"void({FLOATS}, {INTS}, int64, int64, int64, {FLOATS})")
def take(products: Array, offsets: Array, stride: int, parts_a: int, parts_b: int, out: Array) -> None:
    """Copy existing products, for each lane a block of a matrix, to `out[i, j, lane]`."""
    wide()
    full = parts_b - parts_b % WIDTH
    for i in range(parts_a):
        to = i * parts_b * WIDTH
        for j in range(0, full, WIDTH):
            transposed(products, offsets, i * stride + j, out, to + j * WIDTH, WIDTH)
        for j in range(full, parts_b):
            for lane in range(WIDTH):
                copy(products, offsets[lane] + i * stride + j, out, to + j * WIDTH + lane)


@compiled(f"void({FLOATS}, int64, int64, int64, {FLOATS}, int64, {FLOATS}, boolean)")
def product(a: Array, start: int, parts_a: int, dim: int, b: Array, parts_b: int, out: Array, shared: bool) -> None:
    """The product of a's rows, of an image that all lanes `shared` or packed ones, with packed b."""
    wide()
    stride = parts_b * WIDTH
    across, along = (dim, 1) if shared else (WIDTH, parts_a * WIDTH)
    full_a, full_b = parts_a - parts_a % ROWS, parts_b - parts_b % COLUMNS
    long_a, long_b = full_a - full_a % LONG, parts_b - parts_b % LONG
    for j in range(0, full_b, COLUMNS):
        for i in range(0, full_a, ROWS):
            first, to = start + i * across, i * stride + j * WIDTH
            tile(a, first, across, along, shared, b, j * WIDTH, stride, dim, out, to, stride)
    for j in range(full_b, parts_b):
        for i in range(0, long_a, LONG):
            first, to = start + i * across, i * stride + j * WIDTH
            long_column(a, first, across, along, shared, b, j * WIDTH, stride, dim, out, to, stride)
        for i in range(long_a, full_a):
            first, to = start + i * across, i * stride + j * WIDTH
            cell(a, first, across, along, shared, b, j * WIDTH, stride, dim, out, to, stride)
    for i in range(full_a, parts_a):
        for j in range(0, long_b, LONG):
            to = i * stride + j * WIDTH
            long_row(a, start + i * across, across, along, shared, b, j * WIDTH, stride, dim, out, to, stride)
        for j in range(long_b, parts_b):
            to = i * stride + j * WIDTH
            cell(a, start + i * across, across, along, shared, b, j * WIDTH, stride, dim, out, to, stride)
