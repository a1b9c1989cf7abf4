"""The products of sixteen pairs of maps, one pair in each lane: `s[i, j, lane] = sum_k a[i, k] b[k, j, lane]`."""

from __future__ import annotations

from typing import Any

import numpy as np

from diml.matching.kernels.compiling import FLOATS, INTS, Array, compiled, inlined
from diml.matching.kernels.lanes import WIDTH, copy, every, every_at, fma, load, store, transposed, wide


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


@inlined
def _store4(out: Array, to: int, a: Any, b: Any, c: Any, d: Any) -> None:
    store(out, to, a)
    store(out, to + 16, b)
    store(out, to + 32, c)
    store(out, to + 48, d)


@inlined
def _number(a: Array, start: int, i: int, k: int, parts: int, dim: int, shared: bool) -> Any:
    """Number k of row i of a for all lanes: one for all, from the rows of an image, or one each, from packed ones."""
    return every_at(a, start + i * dim + k) if shared else load(a, (k * parts + i) * WIDTH)


@compiled(f"void({FLOATS}, int64, int64, int64, {FLOATS}, int64, {FLOATS}, boolean)")
def product(a: Array, start: int, parts_a: int, dim: int, b: Array, parts_b: int, out: Array, shared: bool) -> None:
    """The product of a's rows with packed b, by tiles of 4 x 4 running sums in registers.

    `shared` says that all lanes have the same a; the compiler makes a loop for each case.
    """
    wide()
    zero = every(np.float32(0))
    stride = parts_b * WIDTH
    full_a, full_b = parts_a - parts_a % 4, parts_b - parts_b % 4
    for j in range(0, full_b, 4):
        for i in range(0, full_a, 4):
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
            at = j * WIDTH
            for k in range(dim):
                b0, b1, b2, b3 = load(b, at), load(b, at + 16), load(b, at + 32), load(b, at + 48)
                x = _number(a, start, i, k, parts_a, dim, shared)
                s00, s01, s02, s03 = fma(x, b0, s00), fma(x, b1, s01), fma(x, b2, s02), fma(x, b3, s03)
                x = _number(a, start, i + 1, k, parts_a, dim, shared)
                s10, s11, s12, s13 = fma(x, b0, s10), fma(x, b1, s11), fma(x, b2, s12), fma(x, b3, s13)
                x = _number(a, start, i + 2, k, parts_a, dim, shared)
                s20, s21, s22, s23 = fma(x, b0, s20), fma(x, b1, s21), fma(x, b2, s22), fma(x, b3, s23)
                x = _number(a, start, i + 3, k, parts_a, dim, shared)
                s30, s31, s32, s33 = fma(x, b0, s30), fma(x, b1, s31), fma(x, b2, s32), fma(x, b3, s33)
                at += stride
            to = i * stride + j * WIDTH
            _store4(out, to, s00, s01, s02, s03)
            _store4(out, to + stride, s10, s11, s12, s13)
            _store4(out, to + 2 * stride, s20, s21, s22, s23)
            _store4(out, to + 3 * stride, s30, s31, s32, s33)
        for i in range(full_a, parts_a):
            s00 = s01 = s02 = s03 = zero
            at = j * WIDTH
            for k in range(dim):
                x = _number(a, start, i, k, parts_a, dim, shared)
                s00, s01 = fma(x, load(b, at), s00), fma(x, load(b, at + 16), s01)
                s02, s03 = fma(x, load(b, at + 32), s02), fma(x, load(b, at + 48), s03)
                at += stride
            _store4(out, i * stride + j * WIDTH, s00, s01, s02, s03)
    for j in range(full_b, parts_b):
        for i in range(0, full_a, 4):
            s00 = s10 = s20 = s30 = zero
            at = j * WIDTH
            for k in range(dim):
                b0 = load(b, at)
                s00 = fma(_number(a, start, i, k, parts_a, dim, shared), b0, s00)
                s10 = fma(_number(a, start, i + 1, k, parts_a, dim, shared), b0, s10)
                s20 = fma(_number(a, start, i + 2, k, parts_a, dim, shared), b0, s20)
                s30 = fma(_number(a, start, i + 3, k, parts_a, dim, shared), b0, s30)
                at += stride
            to = i * stride + j * WIDTH
            store(out, to, s00)
            store(out, to + stride, s10)
            store(out, to + 2 * stride, s20)
            store(out, to + 3 * stride, s30)
        for i in range(full_a, parts_a):
            s00 = zero
            at = j * WIDTH
            for k in range(dim):
                s00 = fma(_number(a, start, i, k, parts_a, dim, shared), load(b, at), s00)
                at += stride
            store(out, i * stride + j * WIDTH, s00)
