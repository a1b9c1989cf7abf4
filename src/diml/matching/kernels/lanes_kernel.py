"""The compiled part of the CPU twin: sixteen pairs in step, from the unit rows of their maps to their scores.

A block of sixteen pairs goes through four stages, all in a scratch that fits into the second-level cache:

    pack      the maps of the sixteen b side by side, one per lane: `b[k, part, lane]`
    product   `s[i, j, lane] = sum_k a[i, k] b[k, j, lane]`; the last row and column hold the correlations, the corner
              the pooled similarity
    marginals and kernel, `exp((s - max s) / eps)`
    Sinkhorn  lane by lane until the tolerance is met; what is done is frozen, so that no pair depends on the others.
              When four lanes are left at work they move to a pool, which is solved whenever it holds sixteen: on real
              features the slowest of sixteen pairs takes 2.3 times as many iterations as their mean

Imported only when the CPU twin is first used: numba takes half a second to load, and the code, once, some seconds to
compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from diml.matching.kernels.lanes import (
    WIDTH,
    at_most,
    choose,
    copy,
    every,
    every_at,
    exponential,
    fma,
    inverse,
    larger,
    load,
    magnitude,
    smaller,
    store,
    transposed,
    wide,
)

# What became of a pair.
CONVERGED, UNCONVERGED, OUT_OF_RANGE = 1, 0, 2
# Largest (max S - min S) / eps at which float32 scaling is right.
MAX_RANGE = 80.0
ALL = 0xFFFF
# Unfinished lanes that a block leaves to the pool; 2 to 6 cost about the same.
LEAVE = 4
# Floats in 64 bytes: registers of sixteen are read fastest from such borders.
BORDER = 16

Array = np.ndarray[Any, Any]
_f, _i = "float32[::1]", "int64[::1]"
_bench_t = f"UniTuple({_f}, 6)"
_score_t = (
    f"void({_f}, {_f}, {_i}, {_i}, int64, int64, int64, int64, boolean, boolean, float32, float32, int64, "
    f"{_f}, {_f}, {_i}, {_i})"
)


def _compiled(signature: str) -> Any:
    """Compiled now or read from the cache on disk; other Python threads run meanwhile."""

    def compiled(function: Any) -> Any:
        options: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
        try:
            return njit(signature, cache=True, **options)(function)
        except RuntimeError:  # neither beside this file nor in the home directory may anything be written
            return njit(signature, **options)(function)

    return compiled


@njit(nogil=True, inline="always")
def _aligned(size: int) -> Array:
    raw = np.zeros(size + BORDER, np.float32)  # what was there before could be denormal, and slow
    return raw[(-(raw.ctypes.data // 4)) % BORDER :]


@_compiled(f"void({_f}, {_i}, int64, int64, {_f})")
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


@njit(nogil=True, inline="always")
def _store4(out: Array, to: int, a: Any, b: Any, c: Any, d: Any) -> None:
    store(out, to, a)
    store(out, to + 16, b)
    store(out, to + 32, c)
    store(out, to + 48, d)


@njit(nogil=True, inline="always")
def _number(a: Array, start: int, i: int, k: int, parts: int, dim: int, shared: bool) -> Any:
    """Number k of row i of a for all lanes: one for all, from the rows of an image, or one each, from packed ones."""
    return every_at(a, start + i * dim + k) if shared else load(a, (k * parts + i) * WIDTH)


@_compiled(f"void({_f}, int64, int64, int64, {_f}, int64, {_f}, boolean)")
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


@njit(nogil=True, inline="always")
def _marginal(products: Array, start: int, stride: int, parts: int, cross: bool, mu: Array) -> None:
    """mu[part, lane] from the correlations at `products[start + part * stride]`: a named scheme."""
    even = every(np.float32(1) / np.float32(parts))
    zero = every(np.float32(0))
    mass = zero
    if cross:
        for part in range(parts):
            mass = mass + larger(load(products, start + part * stride), zero)
    none = at_most(mass, every(np.float32(1.2e-32)))
    share = every(np.float32(1)) / choose(none, every(np.float32(1)), mass)
    for part in range(parts):
        weight = even
        if cross:
            weight = choose(none, even, larger(load(products, start + part * stride), zero) * share)
        store(mu, part * WIDTH, weight)


@njit(nogil=True, inline="always")
def _bench(parts_a: int, parts_b: int) -> Any:
    """Scratch for sixteen pairs: products, kernel, mu_a, mu_b, u, v."""
    cells = parts_a * parts_b * WIDTH
    a, b = parts_a * WIDTH, parts_b * WIDTH
    return _aligned(cells), _aligned(cells), _aligned(a), _aligned(b), _aligned(a), _aligned(b)


@_compiled(f"uint32({_bench_t}, int64, int64, boolean, float32)")
def begin(bench: Any, r_a: int, r_b: int, cross: bool, eps: float) -> Any:
    """Marginals, kernel and first potentials of sixteen pairs; bit l of the result says that lane l is out of range."""
    wide()
    products, kernel, mu_a, mu_b, u, v = bench
    zero, one = every(np.float32(0)), every(np.float32(1))
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    _marginal(products, row, stride, r_a, cross, mu_a)
    _marginal(products, r_a * stride, WIDTH, r_b, cross, mu_b)
    high = low = load(products, 0)
    for i in range(r_a):
        for j in range(0, row, WIDTH):
            s = load(products, i * stride + j)
            high, low = larger(high, s), smaller(low, s)
    scale = every(np.float32(1) / eps)
    least = every(np.float32(-86))
    for i in range(r_a):
        for j in range(0, row, WIDTH):
            s = load(products, i * stride + j)
            store(kernel, i * row + j, exponential(larger((s - high) * scale, least)))
    for i in range(r_a):
        store(u, i * WIDTH, zero)
    for j in range(0, row, WIDTH):
        store(v, j, one)
    return ~at_most((high - low) * scale, every(np.float32(MAX_RANGE))) & np.uint32(ALL)


@njit(nogil=True, inline="always")
def _scaled(u: Array, mu: Array, at: int, sums: Any, done: Any) -> Any:
    """How far the old u leaves the row sums from mu, and the new u, which is stored too; what is done keeps it."""
    old, wanted = load(u, at), load(mu, at)
    new = choose(done, old, wanted * inverse(sums))
    store(u, at, new)
    return magnitude(old * sums - wanted), new


@_compiled(f"uint32({_bench_t}, int64, int64, {_f}, uint32, int64, float32, int64, {_i}, {_i})")
def iterate(
    bench: Any,
    r_a: int,
    r_b: int,
    sums: Array,
    done: Any,
    leave: int,
    tolerance: float,
    limit: int,
    passes: Array,
    state: Array,
) -> Any:
    """Sinkhorn's iterations until at most `leave` lanes are not done; the lanes that are.

    A pass takes the row sums of the last one's plan, whose error they tell, the new u from them, and the new v from
    its column sums, so that eight rows of the kernel are read once from the cache for both. A lane found within the
    tolerance keeps the better plan of this very pass.
    """
    wide()
    _, kernel, mu_a, mu_b, u, v = bench
    zero, enough = every(np.float32(0)), every(tolerance)
    row, eights = r_b * WIDTH, r_a - r_a % 8
    while True:
        left, room = 0, limit + 1
        for lane in range(WIDTH):
            if not done >> lane & 1:
                left += 1
                room = min(room, limit + 1 - passes[lane])
        if left <= leave:
            return done
        now = np.uint32(0)
        taken = 0
        while taken < room and not now:
            taken += 1
            error = zero
            for j in range(0, row, WIDTH):
                store(sums, j, zero)
            for i in range(0, eights, 8):
                # Eight sums at a time, or each addition would wait for the one before.
                a, b = i * row, (i + 4) * row
                s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
                for j in range(0, row, WIDTH):
                    x = load(v, j)
                    s0, s1 = fma(load(kernel, a + j), x, s0), fma(load(kernel, a + row + j), x, s1)
                    s2, s3 = fma(load(kernel, a + 2 * row + j), x, s2), fma(load(kernel, a + 3 * row + j), x, s3)
                    s4, s5 = fma(load(kernel, b + j), x, s4), fma(load(kernel, b + row + j), x, s5)
                    s6, s7 = fma(load(kernel, b + 2 * row + j), x, s6), fma(load(kernel, b + 3 * row + j), x, s7)
                n = i * WIDTH
                e0, u0 = _scaled(u, mu_a, n, s0, done)
                e1, u1 = _scaled(u, mu_a, n + 16, s1, done)
                e2, u2 = _scaled(u, mu_a, n + 32, s2, done)
                e3, u3 = _scaled(u, mu_a, n + 48, s3, done)
                e4, u4 = _scaled(u, mu_a, n + 64, s4, done)
                e5, u5 = _scaled(u, mu_a, n + 80, s5, done)
                e6, u6 = _scaled(u, mu_a, n + 96, s6, done)
                e7, u7 = _scaled(u, mu_a, n + 112, s7, done)
                error = error + ((e0 + e1) + (e2 + e3)) + ((e4 + e5) + (e6 + e7))
                for j in range(0, row, WIDTH):
                    x, y = fma(load(kernel, a + j), u0, load(sums, j)), load(kernel, b + j) * u4
                    x, y = fma(load(kernel, a + row + j), u1, x), fma(load(kernel, b + row + j), u5, y)
                    x, y = fma(load(kernel, a + 2 * row + j), u2, x), fma(load(kernel, b + 2 * row + j), u6, y)
                    x, y = fma(load(kernel, a + 3 * row + j), u3, x), fma(load(kernel, b + 3 * row + j), u7, y)
                    store(sums, j, x + y)
            for i in range(eights, r_a):
                at = i * row
                s0 = s1 = zero
                for j in range(0, row - WIDTH, 2 * WIDTH):
                    s0 = fma(load(kernel, at + j), load(v, j), s0)
                    s1 = fma(load(kernel, at + j + WIDTH), load(v, j + WIDTH), s1)
                if r_b % 2:
                    s0 = fma(load(kernel, at + row - WIDTH), load(v, row - WIDTH), s0)
                e0, u0 = _scaled(u, mu_a, i * WIDTH, s0 + s1, done)
                error = error + e0
                for j in range(0, row, WIDTH):
                    store(sums, j, fma(load(kernel, at + j), u0, load(sums, j)))
            for j in range(0, row, WIDTH):
                store(v, j, choose(done, load(v, j), load(mu_b, j) * inverse(load(sums, j))))
            now = at_most(error, enough) & ~done
        for lane in range(WIDTH):
            if not done >> lane & 1:
                passes[lane] += taken
                if now >> lane & 1:
                    state[lane] = CONVERGED
                    done = done | np.uint32(1 << lane)
                elif passes[lane] > limit:
                    state[lane] = UNCONVERGED
                    done = done | np.uint32(1 << lane)


@njit(nogil=True, inline="always")
def _total(bench: Any, r_a: int, r_b: int) -> Any:
    """Structural similarities, `sum_ij u_i K_ij v_j S_ij`."""
    products, kernel, _, _, u, v = bench
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    total = every(np.float32(0))
    for i in range(r_a):
        part = every(np.float32(0))
        for j in range(0, row, WIDTH):
            part = fma(load(kernel, i * row + j) * load(v, j), load(products, i * stride + j), part)
        total = fma(load(u, i * WIDTH), part, total)
    return total


@_compiled(f"void({_bench_t}, int64, int64, uint32, {_i}, {_i}, {_i}, {_f}, {_f}, {_f}, {_i}, {_i})")
def finish(
    bench: Any,
    r_a: int,
    r_b: int,
    done: Any,
    places: Array,
    passes: Array,
    state: Array,
    total: Array,
    structural: Array,
    pooled: Array,
    iterations: Array,
    states: Array,
) -> None:
    """Write the scores of the lanes that are done to their places; a negative place is a lane to spare."""
    wide()
    store(total, 0, _total(bench, r_a, r_b))
    corner = (r_a * (r_b + 1) + r_b) * WIDTH
    for lane in range(WIDTH):
        place = places[lane]
        if done >> lane & 1 and place >= 0:
            structural[place], pooled[place] = total[lane], bench[0][corner + lane]
            iterations[place] = max(1, passes[lane] - 1)
            states[place] = state[lane] if np.isfinite(total[lane]) else OUT_OF_RANGE


@_compiled(f"void({_bench_t}, {_i}, int64, int64, {_bench_t}, int64)")
def move(source: Any, which: Array, first: int, last: int, target: Any, to: int) -> None:
    """Lanes which[first:last] of a bench to the lanes from `to` on of another, or to lower ones of the same."""
    for part in range(6):
        a, b = source[part], target[part]
        for at in range(0, len(a) - WIDTH + 1, WIDTH):
            for k in range(first, last):
                copy(a, at + which[k], b, at + to + k - first)


@_compiled(f"void({_bench_t}, int64, int64, {_f}, boolean)")
def bound(bench: Any, r_a: int, r_b: int, out: Array, cross: bool) -> None:
    """Upper bounds of sixteen structural similarities: every part of b at its best in a, by its weight."""
    wide()
    products, _, _, mu_b, _, best = bench
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    _marginal(products, r_a * stride, WIDTH, r_b, cross, mu_b)
    for j in range(0, row, WIDTH):
        store(best, j, load(products, j))
    for i in range(1, r_a):
        for j in range(0, row, WIDTH):
            store(best, j, larger(load(best, j), load(products, i * stride + j)))
    total = every(np.float32(0))
    for j in range(0, row, WIDTH):
        total = fma(load(mu_b, j), load(best, j), total)
    store(out, 0, total)


@_compiled(_score_t)
def score(
    rows_a: Array,
    rows_b: Array,
    index_a: Array,
    index_b: Array,
    repeat: int,
    parts_a: int,
    parts_b: int,
    dim: int,
    bounds_only: bool,
    cross: bool,
    eps: float,
    tolerance: float,
    limit: int,
    structural: Array,
    pooled: Array,
    iterations: Array,
    states: Array,
) -> None:
    """Score pairs, sixteen at a time; `parts` count the pooled row.

    With repeat = 0, pair by pair of two lists of indices. With repeat = 1, every image of `index_a` with each of the at
    most sixteen of `index_b`, which are packed once; the results are those of an array (len(index_a), 16).
    """
    r_a, r_b = parts_a - 1, parts_b - 1
    bench, pool = _bench(parts_a, parts_b), _bench(parts_a, parts_b)
    packed_a, packed_b = _aligned(parts_a * dim * WIDTH), _aligned(parts_b * dim * WIDTH)
    products, sums, total = bench[0], _aligned(parts_b * WIDTH), _aligned(WIDTH)
    passes, state, places = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64)
    pool_passes, pool_state, pool_places = passes.copy(), state.copy(), places.copy()
    offsets_a, offsets_b = np.empty(WIDTH, np.int64), np.empty(WIDTH, np.int64)
    which, stay = np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64)
    waiting = 0
    lists = repeat == 0
    count = len(index_a)
    for start in range(0, count, WIDTH if lists else 1):
        shared = True
        for lane in range(WIDTH):
            at_a = min(start + lane, count - 1) if lists else start
            at_b = at_a if lists else min(lane, len(index_b) - 1)  # lanes to spare repeat the last pair
            offsets_a[lane] = index_a[at_a] * parts_a * dim
            offsets_b[lane] = index_b[at_b] * parts_b * dim
            shared = shared and offsets_a[lane] == offsets_a[0]
            spare = start + lane >= count if lists else lane >= len(index_b)
            places[lane] = -1 if spare else (start + lane if lists else start * WIDTH + lane)
        if lists or start == 0:
            pack(rows_b, offsets_b, parts_b, dim, packed_b)
        if shared:
            product(rows_a, offsets_a[0], parts_a, dim, packed_b, parts_b, products, True)
        else:
            pack(rows_a, offsets_a, parts_a, dim, packed_a)
            product(packed_a, 0, parts_a, dim, packed_b, parts_b, products, False)
        if bounds_only:
            bound(bench, r_a, r_b, total, cross)
            for lane in range(WIDTH):
                if places[lane] >= 0:
                    structural[places[lane]] = total[lane]
                    pooled[places[lane]] = products[(r_a * parts_b + r_b) * WIDTH + lane]
            continue
        done = begin(bench, r_a, r_b, cross, eps)
        for lane in range(WIDTH):
            passes[lane] = 0
            state[lane] = OUT_OF_RANGE if done >> lane & 1 else UNCONVERGED
            if places[lane] < 0:
                done = done | np.uint32(1 << lane)
        done = iterate(bench, r_a, r_b, sums, done, LEAVE, tolerance, limit, passes, state)
        finish(bench, r_a, r_b, done, places, passes, state, total, structural, pooled, iterations, states)
        left = 0
        for lane in range(WIDTH):
            if not done >> lane & 1:
                which[left] = lane
                left += 1
        first = 0
        while first < left:
            last = min(left, first + WIDTH - waiting)
            move(bench, which, first, last, pool, waiting)
            for k in range(first, last):
                pool_passes[waiting], pool_places[waiting] = passes[which[k]], places[which[k]]
                waiting += 1
            first = last
            if waiting == WIDTH:
                none = np.uint32(0)
                pool_done = iterate(pool, r_a, r_b, sums, none, LEAVE, tolerance, limit, pool_passes, pool_state)
                finish(
                    pool, r_a, r_b, pool_done, pool_places, pool_passes, pool_state, total,
                    structural, pooled, iterations, states,
                )  # fmt: skip
                waiting = 0
                for lane in range(WIDTH):
                    if not pool_done >> lane & 1:
                        stay[waiting] = lane
                        pool_passes[waiting], pool_places[waiting] = pool_passes[lane], pool_places[lane]
                        waiting += 1
                move(pool, stay, 0, waiting, pool, 0)
    if waiting:
        pool_done = np.uint32(ALL) ^ np.uint32((1 << waiting) - 1)
        for lane in range(waiting, WIDTH):
            pool_places[lane] = -1
        pool_done = iterate(pool, r_a, r_b, sums, pool_done, 0, tolerance, limit, pool_passes, pool_state)
        finish(
            pool,
            r_a,
            r_b,
            pool_done,
            pool_places,
            pool_passes,
            pool_state,
            total,
            structural,
            pooled,
            iterations,
            states,
        )
