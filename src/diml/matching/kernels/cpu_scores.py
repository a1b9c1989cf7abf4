"""The CPU backend: lists and matrices of pairs, cut into pieces for as many threads as PyTorch uses.

The compiled code is in `lanes_kernel`. It releases the interpreter lock, each thread has a workspace of its own (about
300 KB for 16 parts), and the threads end with the call, so it may be called from several threads and after a fork.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching.kernels import SCHEMES, BackendPlans, BackendScores, BackendSettings, PartWeights, checked_indices
from diml.matching.kernels.code_rows import new_scratch, read_rows
from diml.matching.kernels.coded_maps import CodedMaps
from diml.matching.kernels.compiling import (
    BORDER,
    CONVERGED,
    DUSTBIN,
    FULL,
    ONE_SIDED,
    OUT_OF_RANGE,
    Array,
    aligned,
    new_workspace,
)
from diml.matching.kernels.lanes import WIDTH
from diml.matching.kernels.lanes_kernel import CROSSED, GIVEN, LISTED, score
from diml.matching.kernels.threads import in_threads

# Work of a thread at a time, some milliseconds: pairs of a list, pairs with plans, and images of a with a block of b.
PIECE, PLANS = 2048, 512
STRIP = 512
# Numbers of the rows that are read from codes before they are compared: 2 MB, which stay in a cache.
CODED = 2**19

NONE = np.empty(0, np.float32)
TRANSPORTS = {"full": FULL, "one-sided": ONE_SIDED, "dustbin": DUSTBIN}


def unsupported(parts_a: int, parts_b: int, dtype: torch.dtype, settings: BackendSettings) -> str | None:
    """Why the kernel cannot do this, in words that can follow "because"; None if it can."""
    if dtype != torch.float32:
        return f"the rows are {dtype}"
    if settings.scheme not in SCHEMES:
        return f"marginals {settings.scheme!r} are not built into it"
    return None


def score_pairs(
    rows_a: Float[Tensor, "n rows_a d"],
    rows_b: Float[Tensor, "m rows_b d"] | CodedMaps,
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
) -> BackendScores:
    """Scores of the pairs (a[i_k], b[j_k]), each (p,). Fastest if pairs with the same image of a are adjacent.

    Codes are read where they are compared, once for each pair.

    >>> rows = torch.nn.functional.normalize(torch.ones(2, 5, 3), dim=-1)
    >>> score_pairs(rows, rows, torch.tensor([0]), torch.tensor([1]), BackendSettings("uniform")).converged
    tensor([True])
    """
    out = _empty((len(i),))
    _listed(_Call.of(rows_a, rows_b, settings, weights), _indices(i, len(rows_a)), _indices(j, len(rows_b)), out)
    return _scores(out)


def bound_pairs(
    rows_a: Float[Tensor, "n rows_a d"],
    rows_b: Float[Tensor, "m rows_b d"] | CodedMaps,
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Upper bounds of the structural similarity of `score_pairs`, and the pooled similarity, each (p,)."""
    out = _empty((len(i),))
    call = _Call.of(rows_a, rows_b, settings, weights, bounds_only=True)
    _listed(call, _indices(i, len(rows_a)), _indices(j, len(rows_b)), out)
    return torch.from_numpy(out[0]), torch.from_numpy(out[1])


def plan_pairs(
    rows_a: Float[Tensor, "n rows_a d"],
    rows_b: Float[Tensor, "m rows_b d"],
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
) -> BackendPlans:
    """The plans behind the scores of `score_pairs`, (p, r_a, r_b); about 13 bytes per pair and 4 per cell.

    >>> rows = torch.nn.functional.normalize(torch.ones(2, 3, 3), dim=-1)
    >>> plan_pairs(rows, rows, torch.tensor([0]), torch.tensor([1]), BackendSettings("uniform")).plan
    tensor([[[0.2500, 0.2500],
             [0.2500, 0.2500]]])
    """
    return _planned(_Call.of(rows_a, rows_b, settings, weights), _indices(i, len(rows_a)), _indices(j, len(rows_b)))


def plan_products(
    products: Float[Tensor, "n rows_a m rows_b"],
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
) -> BackendPlans:
    """As `plan_pairs`, from the products of all rows of two sets of images."""
    n, parts_a, m, parts_b = products.shape
    images = _indices(i, n), _indices(j, m)
    at = images[0] * parts_a * m * parts_b + images[1] * parts_b
    numbers = _flat(products)
    shape = parts_a, parts_b, m * parts_b
    call = _Call(numbers, numbers[:0], shape, settings, _flat_weights(weights, (n, m), shape), GIVEN)
    return _planned(call, at, at, images)


def score_matrix(
    rows_a: Float[Tensor, "n rows_a d"],
    rows_b: Float[Tensor, "m rows_b d"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
) -> BackendScores:
    """Scores of all pairs, each (n, m). If both are the same tensor, each unordered pair is solved once.

    A one-sided transport is not symmetric, so all pairs are solved then.
    """
    n, m = len(rows_a), len(rows_b)
    symmetric = rows_a is rows_b and settings.transport != "one-sided"
    call = _Call.of(rows_a, rows_b, settings, weights, CROSSED)
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
            call.work(rows, columns, [array[block, where] for array in out])

    in_threads(piece, range(strips * blocks), n * m)
    tables = [array.reshape(blocks, n, WIDTH).transpose(1, 0, 2).reshape(n, blocks * WIDTH)[:, :m] for array in out]
    if symmetric:
        tables = [np.triu(table) + np.triu(table, 1).T for table in tables]
    return _scores(tables)


@dataclass(frozen=True, eq=False)
class _Call:
    """The arguments that all pieces of a call share; see `lanes_kernel.score`."""

    a: Array
    b: Array
    shape: tuple[int, int, int]
    settings: BackendSettings
    weights: tuple[Array, Array]
    source: int = LISTED
    bounds_only: bool = False
    codes: CodedMaps | None = None
    thread: threading.local = field(default_factory=threading.local)

    @classmethod
    def of(
        cls,
        rows_a: Tensor,
        rows_b: Tensor | CodedMaps,
        settings: BackendSettings,
        weights: PartWeights | None,
        source: int = LISTED,
        bounds_only: bool = False,
    ) -> _Call:
        codes = rows_b if isinstance(rows_b, CodedMaps) else None
        parts_b = rows_b.shape[1] + (codes is not None)
        shape = rows_a.shape[1], parts_b, rows_a.shape[2]
        flat = _flat_weights(weights, (len(rows_a), len(rows_b)), shape)
        b = NONE if isinstance(rows_b, CodedMaps) else _flat(rows_b)
        return cls(_flat(rows_a), b, shape, settings, flat, source, bounds_only, codes)

    @property
    def piece(self) -> int:
        """Pairs of a list that are worked at together."""
        _, parts_b, dim = self.shape
        return PIECE if self.codes is None else min(PIECE, max(WIDTH, CODED // (parts_b * dim)))

    def work(self, at_a: Array, at_b: Array, out: list[Array], images: tuple[Array, Array] | None = None) -> None:
        how = self.settings
        transport = TRANSPORTS[how.transport]
        price = np.float32(how.bin_similarity if transport == DUSTBIN else 0)
        numbers = (transport, price, np.float32(how.eps), np.float32(how.tolerance), how.max_iterations)
        found = (*out, NONE, NONE) if len(out) == len(BackendScores._fields) else tuple(out)
        cross = how.scheme == "cross_correlation"
        if not hasattr(self.thread, "workspace"):
            parts_a, parts_b, dim = self.shape
            depth = 0 if self.source == GIVEN else dim
            self.thread.workspace = new_workspace(parts_a, parts_b, depth, plans=len(found[4]) > 0)
        how_and_where = *numbers, *self.thread.workspace
        images = images or (at_a, at_b)
        b, at_b = (self.b, at_b) if self.codes is None else self._read(self.codes, at_b)
        pairs = at_a, at_b, images, self.weights
        score(self.a, b, *pairs, self.source, *self.shape, self.bounds_only, cross, *how_and_where, found)

    def _read(self, codes: CodedMaps, images: Array) -> tuple[Array, Array]:
        """Rows of some images, and where the rows of each are."""
        if not hasattr(self.thread, "rows"):
            _, parts_b, dim = self.shape
            self.thread.rows = aligned(self.piece * parts_b * dim + BORDER), new_scratch(codes.layout)
        rows, scratch = self.thread.rows
        read_rows(codes, images, scratch, rows)
        return rows, np.arange(len(images))


def _listed(
    call: _Call,
    at_a: Array,
    at_b: Array,
    out: list[Array],
    size: int | None = None,
    images: tuple[Array, Array] | None = None,
) -> None:
    size = size or call.piece
    if len(at_a) != len(at_b):
        raise IndexError(f"expected as many indices of a as of b to form pairs, got {len(at_a)} and {len(at_b)}")

    def piece(start: int) -> None:
        where = slice(start, start + size)
        some = None if images is None else (images[0][where], images[1][where])
        call.work(at_a[where], at_b[where], [array[where].reshape(-1) for array in out], some)

    in_threads(piece, range(0, len(at_a), size), len(at_a))


def _planned(call: _Call, at_a: Array, at_b: Array, images: tuple[Array, Array] | None = None) -> BackendPlans:
    # Independent of torch's default dtype: the compiled code writes float32.
    plan = torch.empty(len(at_a), call.shape[0] - 1, call.shape[1] - 1, dtype=torch.float32)
    error = torch.empty(len(at_a), dtype=torch.float32)
    out = _empty((len(at_a),))
    _listed(call, at_a, at_b, [*out, plan.numpy(), error.numpy()], PLANS, images)
    scores = _scores(out)
    return BackendPlans(plan, error, scores.iterations, scores.converged)


def _flat(rows: Tensor) -> Array:
    flat: Array = rows.detach().contiguous().numpy().reshape(-1)
    return flat


def _flat_weights(
    weights: PartWeights | None, images: tuple[int, int], rows: tuple[int, int, int]
) -> tuple[Array, Array]:
    """Both sides' weights, checked, as compiled code does not check them; empty without any."""
    if weights is None:
        return NONE, NONE
    expected = [(n, r - 1) for n, r in zip(images, rows[:2], strict=True)]
    if [tuple(each.shape) for each in weights] != expected:
        raise IndexError(f"expected weights of shapes {expected}, got {[tuple(each.shape) for each in weights]}")
    a, b = (_flat(each.float()) for each in weights)
    return a, b


def _indices(index: Tensor, images: int) -> Array:
    numbers: Array = checked_indices(index.cpu(), images).numpy().reshape(-1)
    return numbers


def _empty(shape: tuple[int, ...]) -> list[Array]:
    """Structural, pooled, iterations, states."""
    return [np.zeros(shape, kind) for kind in (np.float32, np.float32, np.int64, np.int64)]


def _scores(arrays: list[Array]) -> BackendScores:
    structural, pooled, iterations, states = (torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    out = states == OUT_OF_RANGE
    return BackendScores(
        structural.masked_fill_(out, torch.nan),
        pooled,
        iterations.masked_fill_(out, -1).to(torch.int32),
        states == CONVERGED,
    )
