"""The results of a block of solved pairs: scores, plans, bounds; and moving lanes from one block to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from diml.matching.kernels.compiling import (
    BLOCK,
    DUSTBIN,
    FLOATS,
    FOUND,
    INTS,
    ONE_SIDED,
    OUT_OF_RANGE,
    PROGRESS,
    WEIGHTS,
    Array,
    compiled,
    inlined,
)
from diml.matching.kernels.lanes import WIDTH, copy, every, fma, larger, load, magnitude, store, wide
from diml.matching.kernels.lanes_sinkhorn import marginal


@inlined
def _total(block: Any, r_a: int, r_b: int, price: Any) -> Any:
    """Structural similarities, `sum_ij u_i K_ij v_j (S_ij - c) + c`; the price c is 0 without a dustbin."""
    products, kernel, _, _, u, v = block
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    total = every(np.float32(0))
    for i in range(r_a):
        part = every(np.float32(0))
        for j in range(0, row, WIDTH):
            part = fma(load(kernel, i * row + j) * load(v, j), load(products, i * stride + j) - price, part)
        total = fma(load(u, i * WIDTH), part, total)
    return total + price


@compiled(f"void({BLOCK}, int64, int64, {FLOATS}, {FLOATS}, {FLOATS})")
def make_plans(block: Any, r_a: int, r_b: int, sums: Array, plans: Array, errors: Array) -> None:
    """Plans `u_i K_ij v_j` of all lanes, and the L1 distance of their row and column sums to the marginals."""
    wide()
    _, kernel, mu_a, mu_b, u, v = block
    row = r_b * WIDTH
    error = zero = every(np.float32(0))
    for j in range(0, row, WIDTH):
        store(sums, j, zero)
    for i in range(r_a):
        scaling, mass = load(u, i * WIDTH), zero
        for j in range(0, row, WIDTH):
            moved = load(kernel, i * row + j) * scaling * load(v, j)
            store(plans, i * row + j, moved)
            store(sums, j, load(sums, j) + moved)
            mass = mass + moved
        error = error + magnitude(mass - load(mu_a, i * WIDTH))
    for j in range(0, row, WIDTH):
        error = error + magnitude(load(sums, j) - load(mu_b, j))
    store(errors, 0, error)


@compiled(f"void({BLOCK}, int64, int64, uint32, {PROGRESS}, UniTuple({FLOATS}, 4), float32, {FOUND})")
def finish(block: Any, r_a: int, r_b: int, done: Any, progress: Any, scratch: Any, price: float, found: Any) -> None:
    """Write the results of finished lanes to their positions; plans if there is space for them."""
    wide()
    places, passes, state = progress
    sums, total, plan, error = scratch
    structural, pooled, iterations, states, plans, errors = found
    store(total, 0, _total(block, r_a, r_b, every(price)))
    cells, corner = r_a * r_b, (r_a * (r_b + 1) + r_b) * WIDTH
    if len(plans):
        make_plans(block, r_a, r_b, sums, plan, error)
    for lane in range(WIDTH):
        place = places[lane]
        if done >> lane & 1 and place >= 0:
            structural[place], pooled[place] = total[lane], block[0][corner + lane]
            iterations[place] = max(1, passes[lane] - 1)
            states[place] = state[lane] if np.isfinite(total[lane]) else OUT_OF_RANGE
            if len(plans):
                errors[place] = error[lane]
                for cell in range(cells):
                    copy(plan, cell * WIDTH + lane, plans, place * cells + cell)


@compiled(f"void({BLOCK}, {INTS}, int64, int64, {BLOCK}, int64)")
def move(source: Any, which: Array, first: int, last: int, target: Any, to: int) -> None:
    """Move lanes which[first:last] of a block to the lanes from `to` on of another, or to lower ones of the same."""
    for part in range(6):
        a, b = source[part], target[part]
        for at in range(0, len(a) - WIDTH + 1, WIDTH):
            for k in range(first, last):
                copy(a, at + which[k], b, at + to + k - first)


@compiled(f"void({BLOCK}, int64, int64, boolean, int64, float32, {WEIGHTS}, {PROGRESS}, {FLOATS}, {FOUND})")
def bound(
    block: Any,
    r_a: int,
    r_b: int,
    cross: bool,
    transport: int,
    price: float,
    weights: Any,
    progress: Any,
    bounds: Array,
    found: Any,
) -> None:
    """Write upper bounds of the structural similarities; see diml.matching.topk.

    The best match in a of every part of b, times its weight, or with a dustbin its price where that is more; with a
    one-sided transport the best match in b of every part of a, times its weight.
    """
    wide()
    products, _, mu_a, mu_b, _, best = block
    weights_a, weights_b, offsets_a, offsets_b = weights
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    total = every(np.float32(0))
    if transport == ONE_SIDED:
        marginal(products, row, stride, r_a, cross, weights_a, offsets_a, mu_a)
        for i in range(r_a):
            highest = load(products, i * stride)
            for j in range(WIDTH, row, WIDTH):
                highest = larger(highest, load(products, i * stride + j))
            total = fma(load(mu_a, i * WIDTH), highest, total)
    else:
        marginal(products, r_a * stride, WIDTH, r_b, cross, weights_b, offsets_b, mu_b)
        for j in range(0, row, WIDTH):
            store(best, j, load(products, j))
        for i in range(1, r_a):
            for j in range(0, row, WIDTH):
                store(best, j, larger(load(best, j), load(products, i * stride + j)))
        for j in range(0, row, WIDTH):
            highest = load(best, j)
            if transport == DUSTBIN:
                highest = larger(highest, every(price))
            total = fma(load(mu_b, j), highest, total)
    store(bounds, 0, total)
    structural, pooled, _, _, _, _ = found
    for lane in range(WIDTH):
        place = progress[0][lane]
        if place >= 0:
            structural[place], pooled[place] = bounds[lane], products[r_a * stride + row + lane]
