"""How the CPU backend's functions are compiled, and what they share: types, constants, aligned scratch.

numba keeps compiled code beside the file it was compiled from, and compares it with that file alone. Who changes a
function that others call from another file of these touches those too, or sees the old one run.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numba import njit

from diml.matching.kernels.lanes import WIDTH

# What became of a pair.
CONVERGED, UNCONVERGED, OUT_OF_RANGE = 1, 0, 2
# Largest (max S - min S) / eps at which float32 scaling is right.
MAX_RANGE = 80.0
# A bit for every lane.
ALL = 0xFFFF
# Floats in 64 bytes: registers of sixteen are read fastest from such borders.
BORDER = 16

Array = np.ndarray[Any, Any]
FLOATS, INTS = "float32[::1]", "int64[::1]"
# Scratch of sixteen pairs; what is written down of its lanes; all that a call works in; and where results go.
BLOCK, PROGRESS = f"UniTuple({FLOATS}, 6)", f"UniTuple({INTS}, 3)"
WORKSPACE = (
    f"{BLOCK}, {BLOCK}, {PROGRESS}, {PROGRESS}, UniTuple({FLOATS}, 2), UniTuple({FLOATS}, 4), UniTuple({INTS}, 4)"
)
FOUND = f"Tuple(({FLOATS}, {FLOATS}, {INTS}, {INTS}, {FLOATS}, {FLOATS}))"


def compiled(signature: str) -> Any:
    """Compiled now or read from the cache on disk; other Python threads run meanwhile."""

    def decorated(function: Any) -> Any:
        options: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
        try:
            return njit(signature, cache=True, **options)(function)
        # Neither beside this file nor in the home directory may anything be written; or what is there is damaged.
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            return njit(signature, **options)(function)

    return decorated


# Becomes part of what calls it.
inlined = njit(nogil=True, inline="always")


def aligned(size: int) -> Array:
    raw = np.zeros(size + BORDER, np.float32)  # what was there before could be denormal, and slow
    start = -(raw.ctypes.data // 4) % BORDER
    return raw[start : start + size]


def new_block(parts_a: int, parts_b: int) -> tuple[Array, ...]:
    """Scratch for sixteen pairs: products, kernel, mu_a, mu_b, u, v; `parts` count the pooled row."""
    cells = parts_a * parts_b * WIDTH
    a, b = parts_a * WIDTH, parts_b * WIDTH
    return aligned(cells), aligned(cells), aligned(a), aligned(b), aligned(a), aligned(b)


def new_progress() -> tuple[Array, ...]:
    """Of each lane: the place of its results, negative where it is to spare; passes so far; what became of it."""
    return np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64)


def new_workspace(parts_a: int, parts_b: int, depth: int, plans: bool) -> tuple[tuple[Array, ...], ...]:
    """What `lanes_kernel.score` works in, made here because code that allocates takes seconds longer to compile.

    A block of sixteen pairs and one for the pool, and the progress of each; both sides' packed maps of `depth` numbers
    a part; sums of columns, totals, plans and their errors; offsets of both sides, and two lists of lanes.
    """
    packed = aligned(parts_a * depth * WIDTH), aligned(parts_b * depth * WIDTH)
    room = (parts_a - 1) * (parts_b - 1) * WIDTH if plans else 0
    results = aligned(parts_b * WIDTH), aligned(WIDTH), aligned(room), aligned(WIDTH)
    lists = tuple(np.zeros(WIDTH, np.int64) for _ in range(4))
    blocks = new_block(parts_a, parts_b), new_block(parts_a, parts_b)
    return *blocks, new_progress(), new_progress(), packed, results, lists
