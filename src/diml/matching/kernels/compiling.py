"""How the functions of the CPU backend are compiled, and what they share: types, constants, aligned memory.

numba keeps compiled code beside its source file and checks that file alone for changes, although the code contains that
of functions in other files. What it keeps therefore has a name by which code from other sources is never used, neither
after a change nor after an upgrade.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from diml.matching.kernels.lanes import WIDTH

# States of a pair.
CONVERGED, UNCONVERGED, OUT_OF_RANGE = 1, 0, 2
# Largest (max S - min S) / eps for which scaling in float32 is accurate.
MAX_RANGE = 80.0
# Less mass than this counts as none, as in `diml.matching.marginals`.
NO_MASS = 1.2e-32
# Transports: all mass of both sides moves; all of a's; or what is alike enough, the rest going to a dustbin.
FULL, ONE_SIDED, DUSTBIN = 0, 1, 2
# The largest scaling of a transport without a bound on it.
UNBOUNDED = 3e38
# One bit for each lane.
ALL = (1 << WIDTH) - 1
# Floats in 64 bytes: registers are read fastest from addresses aligned to this.
BORDER = 16

Array = np.ndarray[Any, Any]
FLOATS, INTS = "float32[::1]", "int64[::1]"
# Arrays of a block of pairs; the progress of its lanes; all memory of a call; and where results go.
BLOCK, PROGRESS = f"UniTuple({FLOATS}, 6)", f"UniTuple({INTS}, 3)"
WORKSPACE = (
    f"{BLOCK}, {BLOCK}, {PROGRESS}, {PROGRESS}, UniTuple({FLOATS}, 2), UniTuple({FLOATS}, 4), UniTuple({INTS}, 6)"
)
# Weights of the parts of both sides, empty without any, and where those of each lane begin.
WEIGHTS = f"Tuple(({FLOATS}, {FLOATS}, {INTS}, {INTS}))"
FOUND = f"Tuple(({FLOATS}, {FLOATS}, {INTS}, {INTS}, {FLOATS}, {FLOATS}))"


def digest(folder: Path) -> str:
    """Eight hexadecimal digits that differ for other Python files."""
    found = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        found.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:8]


SOURCES = digest(Path(__file__).parent)


def compiled(signature: str) -> Any:
    """Compile now or read from the cache on disk; compiled code releases the interpreter lock."""

    def decorated(function: Any) -> Any:
        function.__qualname__ += f"_{SOURCES}"  # a part of the name of the file that numba keeps it in
        options: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
        try:
            return njit(signature, cache=True, **options)(function)
        # Neither the folder of this file nor the home directory is writable, or the cache is damaged.
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError):
            return njit(signature, **options)(function)

    return decorated


# Inlined into its callers.
inlined = njit(nogil=True, inline="always")


def aligned(size: int) -> Array:
    raw = np.zeros(size + BORDER, np.float32)  # not np.empty: denormal numbers would be slow
    start = -(raw.ctypes.data // 4) % BORDER
    return raw[start : start + size]


def new_block(parts_a: int, parts_b: int) -> tuple[Array, ...]:
    """Arrays of a block of pairs: products, kernel, mu_a, mu_b, u, v; `parts` count the pooled row.

    Behind the last part u has the largest scaling that is allowed in each lane, which is that of v too.
    """
    cells = parts_a * parts_b * WIDTH
    a, b = parts_a * WIDTH, parts_b * WIDTH
    return aligned(cells), aligned(cells), aligned(a), aligned(b), aligned(a), aligned(b)


def new_progress() -> tuple[Array, ...]:
    """For each lane: the position of its results, negative if the lane is unused; passes so far; state of the pair."""
    return np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64), np.zeros(WIDTH, np.int64)


def new_workspace(parts_a: int, parts_b: int, depth: int, plans: bool) -> tuple[tuple[Array, ...], ...]:
    """The memory of `lanes_kernel.score`, allocated here because code that allocates takes seconds longer to compile.

    The block that is being solved and the pool, and the progress of each; the packed maps of both sides, `depth`
    numbers per part; column sums, totals, plans and their errors; offsets of both sides' maps, two lists of lanes, and
    offsets of both sides' weights.
    """
    packed = aligned(parts_a * depth * WIDTH), aligned(parts_b * depth * WIDTH)
    room = (parts_a - 1) * (parts_b - 1) * WIDTH if plans else 0
    results = aligned(parts_b * WIDTH), aligned(WIDTH), aligned(room), aligned(WIDTH)
    lists = tuple(np.zeros(WIDTH, np.int64) for _ in range(6))
    blocks = new_block(parts_a, parts_b), new_block(parts_a, parts_b)
    return *blocks, new_progress(), new_progress(), packed, results, lists
