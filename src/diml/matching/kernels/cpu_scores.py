"""The CPU twin: lists and matrices of pairs cut into pieces, which as many threads work off as PyTorch has.

The compiled code is in `lanes_kernel`. It holds no lock of Python's, keeps its scratch to itself (some 300 KB for 16
parts), and its threads end with the call, so that it may be called from several threads, and after a fork.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching.kernels import Scores, Settings
from diml.matching.kernels.lanes import WIDTH
from diml.matching.kernels.lanes_kernel import CONVERGED, OUT_OF_RANGE, Array, score

# Pairs of a list, and images of a beside sixteen of b, that a thread takes at a time: some milliseconds.
PIECE = 2048
STRIP = 512
# Fewer pairs than this are done before a second thread has started.
ALONE = 512


def unsupported(parts_a: int, parts_b: int, dtype: torch.dtype, settings: Settings) -> str | None:
    """Why the kernel cannot do this, in words that can follow "because"; None where it can."""
    if dtype != torch.float32:
        return f"the rows are {dtype}"
    if settings.scheme not in ("uniform", "cross_correlation"):
        return f"marginals {settings.scheme!r} are not built into it"
    return None


def score_pairs(
    rows_a: Float[Tensor, "n rows_a d"],
    rows_b: Float[Tensor, "m rows_b d"],
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: Settings,
) -> Scores:
    """Scores of the pairs (a[i_k], b[j_k]), each (p,). Fastest where pairs of the same a stand together.

    >>> rows = torch.nn.functional.normalize(torch.ones(2, 5, 3), dim=-1)
    >>> score_pairs(rows, rows, torch.tensor([0]), torch.tensor([1]), Settings("uniform")).converged
    tensor([True])
    """
    return _listed(rows_a, rows_b, i, j, settings, bounds_only=False)


def bound_pairs(
    rows_a: Float[Tensor, "n rows_a d"],
    rows_b: Float[Tensor, "m rows_b d"],
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: Settings,
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Upper bounds of what `score_pairs` gives as structural similarity, and the pooled similarity, each (p,)."""
    scores = _listed(rows_a, rows_b, i, j, settings, bounds_only=True)
    return scores.structural, scores.pooled


def score_matrix(
    rows_a: Float[Tensor, "n rows_a d"], rows_b: Float[Tensor, "m rows_b d"], settings: Settings
) -> Scores:
    """Scores of all pairs, each (n, m). Where both are the same tensor, each unordered pair is solved once."""
    n, m, symmetric = len(rows_a), len(rows_b), rows_a is rows_b
    a, b = _flat(rows_a), _flat(rows_b)
    strips = -(-n // STRIP)
    blocks = -(-m // WIDTH)
    out = _empty((blocks, n * WIDTH))

    def piece(at: int) -> None:
        block, strip = divmod(at, strips)
        columns = np.arange(block * WIDTH, min(m, (block + 1) * WIDTH))
        last = min(n, (strip + 1) * STRIP, columns[-1] + 1 if symmetric else n)
        rows = np.arange(strip * STRIP, last)
        if len(rows):
            where = slice(rows[0] * WIDTH, (rows[-1] + 1) * WIDTH)
            _score(a, b, rows, columns, 1, rows_a, rows_b, False, settings, [array[block, where] for array in out])

    _work(piece, range(strips * blocks), n * m)
    tables = [array.reshape(blocks, n, WIDTH).transpose(1, 0, 2).reshape(n, blocks * WIDTH)[:, :m] for array in out]
    if symmetric:
        tables = [np.triu(table) + np.triu(table, 1).T for table in tables]
    return _scores(tables)


def _listed(rows_a: Tensor, rows_b: Tensor, i: Tensor, j: Tensor, settings: Settings, bounds_only: bool) -> Scores:
    at_a, at_b = _indices(i, len(rows_a)), _indices(j, len(rows_b))
    a, b = _flat(rows_a), _flat(rows_b)
    out = _empty((len(at_a),))

    def piece(start: int) -> None:
        where = slice(start, start + PIECE)
        pieces = [array[where] for array in out]
        _score(a, b, at_a[where], at_b[where], 0, rows_a, rows_b, bounds_only, settings, pieces)

    _work(piece, range(0, len(at_a), PIECE), len(at_a))
    return _scores(out)


def _score(
    a: Array,
    b: Array,
    at_a: Array,
    at_b: Array,
    repeat: int,
    rows_a: Tensor,
    rows_b: Tensor,
    bounds_only: bool,
    settings: Settings,
    out: list[Array],
) -> None:
    shape = (rows_a.shape[1], rows_b.shape[1], rows_a.shape[2])
    numbers = (np.float32(settings.eps), np.float32(settings.tolerance), settings.max_iterations)
    score(a, b, at_a, at_b, repeat, *shape, bounds_only, settings.scheme == "cross_correlation", *numbers, *out)


def _work(piece: Callable[[int], None], pieces: Iterable[int], pairs: int) -> None:
    threads = torch.get_num_threads()
    if threads == 1 or pairs < ALONE:
        for at in pieces:
            piece(at)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(piece, pieces):
            pass


def _flat(rows: Tensor) -> Array:
    flat: Array = rows.detach().contiguous().numpy().reshape(-1)
    return flat


def _indices(index: Tensor, images: int) -> Array:
    """int64, 0..images: the compiled code looks where it is told, without asking whether there is anything."""
    numbers: Array = index.detach().cpu().to(torch.int64).contiguous().numpy().reshape(-1)
    if len(numbers) and (numbers.min() < -images or numbers.max() >= images):
        raise IndexError(f"indices {numbers.min()} to {numbers.max()} came for {images} images")
    return np.where(numbers < 0, numbers + images, numbers)


def _empty(shape: tuple[int, ...]) -> list[Array]:
    """Structural, pooled, iterations, states."""
    return [np.zeros(shape, kind) for kind in (np.float32, np.float32, np.int64, np.int64)]


def _scores(arrays: list[Array]) -> Scores:
    structural, pooled, iterations, states = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    out = states == OUT_OF_RANGE
    return Scores(
        structural.masked_fill_(out, torch.nan),
        pooled,
        iterations.masked_fill_(out, -1).to(torch.int32),
        states == CONVERGED,
    )
