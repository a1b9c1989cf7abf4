"""Sinkhorn's iterations for a block of pairs, one in each lane: marginals, kernel, and scalings until all are done."""

from __future__ import annotations

from typing import Any

import numpy as np

from diml.matching.kernels.compiling import (
    ALL,
    BLOCK,
    CONVERGED,
    DUSTBIN,
    FLOATS,
    MAX_RANGE,
    NO_MASS,
    ONE_SIDED,
    PROGRESS,
    UNBOUNDED,
    UNCONVERGED,
    WEIGHTS,
    Array,
    compiled,
    inlined,
)
from diml.matching.kernels.lanes import (
    WIDTH,
    at_most,
    copy,
    every,
    exponential,
    fma,
    inverse,
    larger,
    load,
    magnitude,
    select,
    smaller,
    store,
    transposed,
    wide,
)


@inlined
def spread(weights: Array, offsets: Array, parts: int, mu: Array) -> None:
    """`mu[part, lane] = weights[offsets[lane] + part]`."""
    full = parts - parts % WIDTH
    for part in range(0, full, WIDTH):
        transposed(weights, offsets, part, mu, part * WIDTH, WIDTH)
    for part in range(full, parts):
        for lane in range(WIDTH):
            copy(weights, offsets[lane] + part, mu, part * WIDTH + lane)


@inlined
def marginal(
    products: Array, start: int, stride: int, parts: int, cross: bool, weights: Array, offsets: Array, mu: Array
) -> None:
    """mu[part, lane] from the weights, and if `cross` the correlations at `products[start + part * stride]`."""
    zero, one = every(np.float32(0)), every(np.float32(1))
    if len(weights):
        spread(weights, offsets, parts, mu)
    else:
        even = every(np.float32(1) / np.float32(parts))
        for part in range(parts):
            store(mu, part * WIDTH, even)
    if cross:
        mass = zero
        for part in range(parts):
            at = part * WIDTH
            if len(weights):
                mass = fma(load(mu, at), larger(load(products, start + part * stride), zero), mass)
            else:
                mass = mass + larger(load(products, start + part * stride), zero)
        none = at_most(mass, every(np.float32(NO_MASS)))
        share = one / select(none, one, mass)
        for part in range(parts):
            at = part * WIDTH
            weight = larger(load(products, start + part * stride), zero)
            if len(weights):
                weight = weight * load(mu, at)
            store(mu, at, select(none, load(mu, at), weight * share))


@inlined
def _bounds(transport: int, high: Any, low: Any, price: Any, scale: Any) -> Any:
    """The number that becomes 1 in the kernel, the smallest that must fit beside it, and the largest scaling.

    With a dustbin of price c, `T = u v exp((S - c) / eps)` and u, v <= 1: both take half of `(high - c) / eps`.
    """
    largest = every(np.float32(UNBOUNDED))
    if transport == DUSTBIN:
        high, low = larger(high, price), smaller(low, price)
        room = smaller((high - price) * scale, every(np.float32(MAX_RANGE)))
        largest = exponential(room * every(np.float32(0.5)))
    return high, low, largest


@compiled(f"uint32({BLOCK}, int64, int64, boolean, float32, int64, float32, {WEIGHTS})")
def begin(block: Any, r_a: int, r_b: int, cross: bool, eps: float, transport: int, price: float, weights: Any) -> Any:
    """Set marginals, kernel and first scalings of a block of pairs; bit l of the result: lane l is out of range."""
    wide()
    products, kernel, mu_a, mu_b, u, v = block
    weights_a, weights_b, offsets_a, offsets_b = weights
    zero, one = every(np.float32(0)), every(np.float32(1))
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    marginal(products, row, stride, r_a, cross, weights_a, offsets_a, mu_a)
    marginal(products, r_a * stride, WIDTH, r_b, cross, weights_b, offsets_b, mu_b)
    high = low = load(products, 0)
    for i in range(r_a):
        for j in range(0, row, WIDTH):
            s = load(products, i * stride + j)
            high, low = larger(high, s), smaller(low, s)
    scale = every(np.float32(1) / eps)
    high, low, largest = _bounds(transport, high, low, every(price), scale)
    least = every(np.float32(-86))
    for i in range(r_a):
        for j in range(0, row, WIDTH):
            s = load(products, i * stride + j)
            store(kernel, i * row + j, exponential(larger((s - high) * scale, least)))
    for i in range(r_a):
        store(u, i * WIDTH, zero)
    store(u, r_a * WIDTH, largest)
    for j in range(0, row, WIDTH):
        first = one
        if transport == ONE_SIDED:
            first = load(mu_b, j)
        if transport == DUSTBIN:
            first = largest
        store(v, j, first)
    return ~at_most((high - low) * scale, every(np.float32(MAX_RANGE))) & np.uint32(ALL)


@compiled(f"uint32({BLOCK}, int64, int64, uint32, {PROGRESS})")
def settle(block: Any, r_a: int, r_b: int, done: Any, progress: Any) -> Any:
    """Solve one-sided transports, `u_i = mu_a_i / sum_j K_ij v_j` with v as it is; returns the finished lanes: all."""
    wide()
    _, kernel, mu_a, _, u, v = block
    _, passes, state = progress
    row = r_b * WIDTH
    for i in range(r_a):
        total = every(np.float32(0))
        for j in range(0, row, WIDTH):
            total = fma(load(kernel, i * row + j), load(v, j), total)
        store(u, i * WIDTH, load(mu_a, i * WIDTH) / total)
    for lane in range(WIDTH):
        if not done >> lane & 1:
            passes[lane], state[lane] = 1, CONVERGED
    return np.uint32(ALL)


@inlined
def _scaled(u: Array, mu: Array, at: int, sums: Any, largest: Any, done: Any) -> Any:
    """The error of the row sums with the old u, and the new u, which is stored; finished lanes keep the old one."""
    old, wanted = load(u, at), load(mu, at)
    new = select(done, old, smaller(wanted * inverse(sums), largest))
    store(u, at, new)
    return magnitude(old * sums - smaller(largest * sums, wanted)), new


@compiled(f"uint32({BLOCK}, int64, int64, {FLOATS}, uint32, int64, float32, int64, {PROGRESS})")
def iterate(
    block: Any,
    r_a: int,
    r_b: int,
    sums: Array,
    done: Any,
    leave: int,
    tolerance: float,
    limit: int,
    progress: Any,
) -> Any:
    """Iterate until at most `leave` lanes are unfinished; returns the finished lanes.

    A pass computes the row sums of the previous plan, which give its error, the new u from them, and the new v from the
    column sums, so that eight rows of the kernel are read from the cache once for both. A lane found within the
    tolerance keeps the better plan of the current pass.
    """
    wide()
    _, kernel, mu_a, mu_b, u, v = block
    _, passes, state = progress
    zero, enough, largest = every(np.float32(0)), every(tolerance), load(u, r_a * WIDTH)
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
                # Eight sums at a time; otherwise each addition would wait for the previous one.
                a, b = i * row, (i + 4) * row
                s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = zero
                for j in range(0, row, WIDTH):
                    x = load(v, j)
                    s0, s1 = fma(load(kernel, a + j), x, s0), fma(load(kernel, a + row + j), x, s1)
                    s2, s3 = fma(load(kernel, a + 2 * row + j), x, s2), fma(load(kernel, a + 3 * row + j), x, s3)
                    s4, s5 = fma(load(kernel, b + j), x, s4), fma(load(kernel, b + row + j), x, s5)
                    s6, s7 = fma(load(kernel, b + 2 * row + j), x, s6), fma(load(kernel, b + 3 * row + j), x, s7)
                n = i * WIDTH
                e0, u0 = _scaled(u, mu_a, n, s0, largest, done)
                e1, u1 = _scaled(u, mu_a, n + WIDTH, s1, largest, done)
                e2, u2 = _scaled(u, mu_a, n + 2 * WIDTH, s2, largest, done)
                e3, u3 = _scaled(u, mu_a, n + 3 * WIDTH, s3, largest, done)
                e4, u4 = _scaled(u, mu_a, n + 4 * WIDTH, s4, largest, done)
                e5, u5 = _scaled(u, mu_a, n + 5 * WIDTH, s5, largest, done)
                e6, u6 = _scaled(u, mu_a, n + 6 * WIDTH, s6, largest, done)
                e7, u7 = _scaled(u, mu_a, n + 7 * WIDTH, s7, largest, done)
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
                e0, u0 = _scaled(u, mu_a, i * WIDTH, s0 + s1, largest, done)
                error = error + e0
                for j in range(0, row, WIDTH):
                    store(sums, j, fma(load(kernel, at + j), u0, load(sums, j)))
            for j in range(0, row, WIDTH):
                new = smaller(load(mu_b, j) * inverse(load(sums, j)), largest)
                store(v, j, select(done, load(v, j), new))
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
