"""The results of sixteen solved pairs: scores, plans, bounds; and moving lanes from one block to another."""

from __future__ import annotations

from typing import Any

import numpy as np

from diml.matching.kernels.compiling import BLOCK, FLOATS, FOUND, INTS, OUT_OF_RANGE, PROGRESS, Array, compiled, inlined
from diml.matching.kernels.lanes import WIDTH, copy, every, fma, larger, load, magnitude, store, wide
from diml.matching.kernels.lanes_sinkhorn import marginal


@inlined
def _total(block: Any, r_a: int, r_b: int) -> Any:
    """Structural similarities, `sum_ij u_i K_ij v_j S_ij`."""
    products, kernel, _, _, u, v = block
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    total = every(np.float32(0))
    for i in range(r_a):
        part = every(np.float32(0))
        for j in range(0, row, WIDTH):
            part = fma(load(kernel, i * row + j) * load(v, j), load(products, i * stride + j), part)
        total = fma(load(u, i * WIDTH), part, total)
    return total


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


@compiled(f"void({BLOCK}, int64, int64, uint32, {PROGRESS}, UniTuple({FLOATS}, 4), {FOUND})")
def finish(block: Any, r_a: int, r_b: int, done: Any, progress: Any, scratch: Any, found: Any) -> None:
    """Write the results of finished lanes to their positions; plans if there is space for them."""
    wide()
    places, passes, state = progress
    sums, total, plan, error = scratch
    structural, pooled, iterations, states, plans, errors = found
    store(total, 0, _total(block, r_a, r_b))
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


@compiled(f"void({BLOCK}, int64, int64, boolean, {PROGRESS}, {FLOATS}, {FOUND})")
def bound(block: Any, r_a: int, r_b: int, cross: bool, progress: Any, bounds: Array, found: Any) -> None:
    """Write upper bounds of the structural similarities: the best match in a of every part of b, times its weight."""
    wide()
    products, _, _, mu_b, _, best = block
    stride, row = (r_b + 1) * WIDTH, r_b * WIDTH
    marginal(products, r_a * stride, WIDTH, r_b, cross, mu_b)
    for j in range(0, row, WIDTH):
        store(best, j, load(products, j))
    for i in range(1, r_a):
        for j in range(0, row, WIDTH):
            store(best, j, larger(load(best, j), load(products, i * stride + j)))
    total = every(np.float32(0))
    for j in range(0, row, WIDTH):
        total = fma(load(mu_b, j), load(best, j), total)
    store(bounds, 0, total)
    structural, pooled, _, _, _, _ = found
    for lane in range(WIDTH):
        place = progress[0][lane]
        if place >= 0:
            structural[place], pooled[place] = bounds[lane], products[r_a * stride + row + lane]
