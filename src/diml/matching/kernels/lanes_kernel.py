"""The compiled part of the CPU backend: pairs in step, from unit rows to scores or plans.

A block of pairs, sixteen or eight as `lanes` says, goes through four stages, all in memory that fits into the
second-level cache:

    pack      the maps of its b side by side, one per lane: `b[k, part, lane]`
    product   `s[i, j, lane] = sum_k a[i, k] b[k, j, lane]`; the last row and column hold the correlations, the corner
              the pooled similarity. `take` replaces this stage if the products have been computed already
    marginals and kernel, `exp((s - max s) / eps)`; with a dustbin, the largest scalings
    Sinkhorn  in each lane until its tolerance is met; finished lanes are frozen, so that no pair depends on the others.
              The last quarter of unfinished lanes moves to a pool, which is solved whenever it is full: on real
              features the slowest of sixteen pairs takes 2.3 times as many iterations as their mean. A one-sided
              transport is settled in one half-step instead

Imported only when the CPU backend is first used: numba takes half a second to load, and the first compilation some
seconds.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from diml.matching.kernels.compiling import (
    BLOCK,
    FLOATS,
    FOUND,
    INTS,
    ONE_SIDED,
    OUT_OF_RANGE,
    PROGRESS,
    UNCONVERGED,
    WORKSPACE,
    Array,
    compiled,
    inlined,
)
from diml.matching.kernels.lanes import WIDTH
from diml.matching.kernels.lanes_product import pack, product, take
from diml.matching.kernels.lanes_results import bound, finish, move
from diml.matching.kernels.lanes_sinkhorn import begin, iterate, settle

# Sources of pairs: two lists of images; every image of a with a block of b; or products in a matrix.
LISTED, CROSSED, GIVEN = 0, 1, 2
# Unfinished lanes that a block leaves to the pool; of sixteen, 2 to 6 cost about the same.
LEAVE = WIDTH // 4


@inlined
def _find(
    at: int,
    index_a: Array,
    index_b: Array,
    images: Any,
    crossed: bool,
    sizes: Any,
    offsets: Any,
    places: Array,
) -> bool:
    """Find the offsets of the next block of pairs and of their results; returns whether all have the same image of a.

    Offsets are those of the maps of a and b, and of their weights.
    """
    offsets_a, offsets_b, weights_a, weights_b = offsets
    size_a, size_b, r_a, r_b = sizes
    shared = True
    for lane in range(WIDTH):
        # Unused lanes repeat the last pair.
        at_a = at if crossed else min(at + lane, len(index_a) - 1)
        at_b = min(lane, len(index_b) - 1) if crossed else at_a
        offsets_a[lane], offsets_b[lane] = index_a[at_a] * size_a, index_b[at_b] * size_b
        weights_a[lane], weights_b[lane] = images[0][at_a] * r_a, images[1][at_b] * r_b
        shared = shared and offsets_a[lane] == offsets_a[0]
        spare = lane >= len(index_b) if crossed else at + lane >= len(index_a)
        places[lane] = -1 if spare else (at * WIDTH + lane if crossed else at + lane)
    return shared


@inlined
def _multiply(
    rows_a: Array, rows_b: Array, offsets: Any, shape: Any, shared: bool, again: bool, packed: Any, products: Array
) -> None:
    """Products of a block of pairs; b is packed unless it is the same as before."""
    parts_a, parts_b, dim = shape
    if again:
        pack(rows_b, offsets[1], parts_b, dim, packed[1])
    if shared:
        product(rows_a, offsets[0][0], parts_a, dim, packed[1], parts_b, products, True)
    else:
        pack(rows_a, offsets[0], parts_a, dim, packed[0])
        product(packed[0], 0, parts_a, dim, packed[1], parts_b, products, False)


@inlined
def _start(wide_ones: Any, progress: Any) -> Any:
    """Set the passes and states of new pairs; returns the lanes with nothing to do."""
    places, passes, state = progress
    done = wide_ones
    for lane in range(WIDTH):
        passes[lane] = 0
        state[lane] = OUT_OF_RANGE if wide_ones >> lane & 1 else UNCONVERGED
        if places[lane] < 0:
            done = done | np.uint32(1 << lane)
    return done


@inlined
def _open(done: Any, lanes: Array) -> int:
    """Write the unfinished lanes to the front of the list; returns their number."""
    left = 0
    for lane in range(WIDTH):
        if not done >> lane & 1:
            lanes[left] = lane
            left += 1
    return left


@compiled(
    f"int64({BLOCK}, int64, int64, int64, float32, int64, {PROGRESS}, {INTS}, UniTuple({FLOATS}, 4), float32, {FOUND})"
)
def drain(
    pool: Any, r_a: int, r_b: int, leave: int, tolerance: float, limit: int, progress: Any, lanes: Array, scratch: Any,
    price: float, found: Any,
) -> int:  # fmt: skip
    """Solve the pool until at most `leave` lanes are unfinished, and move them to its front; returns their number."""
    places, passes, _ = progress
    spare = np.uint32(0)
    for lane in range(WIDTH):
        if places[lane] < 0:
            spare = spare | np.uint32(1 << lane)
    done = iterate(pool, r_a, r_b, scratch[0], spare, leave, tolerance, limit, progress)
    finish(pool, r_a, r_b, done, progress, scratch, price, found)
    left = _open(done, lanes)
    for k in range(left):
        passes[k], places[k] = passes[lanes[k]], places[lanes[k]]
    move(pool, lanes, 0, left, pool, 0)
    return left


@compiled(
    f"void({FLOATS}, {FLOATS}, {INTS}, {INTS}, UniTuple({INTS}, 2), UniTuple({FLOATS}, 2), int64, int64, int64, int64, "
    f"boolean, boolean, int64, float32, float32, float32, int64, {WORKSPACE}, {FOUND})"
)
def score(
    rows_a: Array,
    rows_b: Array,
    index_a: Array,
    index_b: Array,
    images: Any,
    weights: Any,
    source: int,
    parts_a: int,
    parts_b: int,
    dim: int,
    bounds_only: bool,
    cross: bool,
    transport: int,
    price: float,
    eps: float,
    tolerance: float,
    limit: int,
    block: Any,
    pool: Any,
    progress: Any,
    pool_progress: Any,
    packed: Any,
    scratch: Any,
    lists: Any,
    found: Any,
) -> None:
    """Score pairs, a block at a time; `parts` count the pooled row.

    LISTED: the pairs of two lists of indices. CROSSED: every image of `index_a` with each of the block of `index_b`,
    which are packed once; results are laid out as an array (len(index_a), WIDTH). GIVEN: `rows_a` is a matrix
    with rows of `dim` numbers, and the products of pair k begin at `index_a[k]`.

    `images` are the images of the pairs, which are the indices where those are of images, and `weights` those of the
    parts of all images of both sides, or empty. `price` is that of a dustbin, 0 without one.

    `block` to `lists` are of `new_workspace`. `found` is structural and pooled similarity, iterations, states, and
    plans with their errors, which are computed if there is space for them.
    """
    r_a, r_b = parts_a - 1, parts_b - 1
    offsets, lanes, stay = (lists[0], lists[1], lists[4], lists[5]), lists[2], lists[3]
    weighing = (weights[0], weights[1], lists[4], lists[5])
    given, crossed = source == GIVEN, source == CROSSED
    sizes = (1, 1, r_a, r_b) if given else (parts_a * dim, parts_b * dim, r_a, r_b)
    waiting = 0
    for start in range(0, len(index_a), 1 if crossed else WIDTH):
        shared = _find(start, index_a, index_b, images, crossed, sizes, offsets, progress[0])
        if given:
            take(rows_a, offsets[0], dim, parts_a, parts_b, block[0])
        else:
            again = not crossed or start == 0
            _multiply(rows_a, rows_b, offsets, (parts_a, parts_b, dim), shared, again, packed, block[0])
        if bounds_only:
            bound(block, r_a, r_b, cross, transport, price, weighing, progress, scratch[1], found)
            continue
        done = _start(begin(block, r_a, r_b, cross, eps, transport, price, weighing), progress)
        if transport == ONE_SIDED:
            done = settle(block, r_a, r_b, done, progress)
        else:
            done = iterate(block, r_a, r_b, scratch[0], done, LEAVE, tolerance, limit, progress)
        finish(block, r_a, r_b, done, progress, scratch, price, found)
        first, left = 0, _open(done, lanes)
        while first < left:
            last = min(left, first + WIDTH - waiting)
            move(block, lanes, first, last, pool, waiting)
            for k in range(first, last):
                pool_progress[0][waiting], pool_progress[1][waiting] = progress[0][lanes[k]], progress[1][lanes[k]]
                waiting += 1
            first = last
            if waiting == WIDTH:
                waiting = drain(pool, r_a, r_b, LEAVE, tolerance, limit, pool_progress, stay, scratch, price, found)
    if waiting:
        pool_progress[0][waiting:] = -1
        drain(pool, r_a, r_b, 0, tolerance, limit, pool_progress, stay, scratch, price, found)
