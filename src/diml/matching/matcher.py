"""The matcher: settings of the matching, and the one primitive on which all of it stands, a list of pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.kernels import Scores, Settings, Twin, choose
from diml.matching.marginals import MARGINALS, Marginal, given
from diml.matching.match import Match
from diml.matching.transport import CHUNK, TransportPlan, transport_plan

# Pairs whose indices exist at once where a whole matrix is asked for.
TILE = 64 * CHUNK
# Images on each side of a tile that is streamed: a megabyte of scores.
SIDE = 512


@dataclass(frozen=True, eq=False)
class UnitMaps:
    """Feature maps with the work that is done once per image done.

    Attributes:
        rows: (n, r + 1, d), float32 or float64: the unit vectors of the parts and, last, of the pooled vector. The
            product of two images' rows then holds local similarities, correlations and the pooled similarity at once.
    """

    rows: Float[Tensor, "n rows d"]

    def __len__(self) -> int:
        return self.rows.shape[0]

    @property
    def parts(self) -> int:
        return self.rows.shape[1] - 1


def prepare(maps: FeatureMaps | UnitMaps) -> UnitMaps:
    """Normalise the parts and the pooled vector of every image, in float32 or better.

    >>> import torch
    >>> prepare(FeatureMaps(torch.ones(5, 4, 3), (2, 2))).rows.shape
    torch.Size([5, 5, 3])
    """
    if isinstance(maps, UnitMaps):
        return maps
    dtype = torch.promote_types(maps.dtype, torch.float32)
    local, pooled = maps.local, maps.pooled
    if torch.is_grad_enabled() and (local.requires_grad or pooled.requires_grad):
        return UnitMaps(F.normalize(torch.cat([local.to(dtype), pooled.to(dtype)[:, None]], dim=1), dim=-1))
    # The same numbers, in place.
    rows = torch.empty(len(maps), maps.parts + 1, maps.dim, dtype=dtype, device=maps.device)
    rows[:, :-1], rows[:, -1] = local, pooled
    rows /= torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_(min=1e-12)
    return UnitMaps(rows)


@dataclass(frozen=True)
class PairScores:
    """Scores of p pairs: `similarity`, and the `structural` and `pooled` similarity it is made of, each (p,), -1..1."""

    similarity: Float[Tensor, " p"]
    structural: Float[Tensor, " p"]
    pooled: Float[Tensor, " p"]
    converged: Bool[Tensor, " p"]
    iterations: Int[Tensor, " p"]


@dataclass(frozen=True, eq=False)
class Tile:
    """Similarities of some images of a, `rows`, with some of b, `columns`."""

    rows: slice
    columns: slice
    similarity: Float[Tensor, "n m"]


@dataclass(frozen=True, eq=False)
class Matcher:
    """How two feature maps are compared: `similarity = (1 - weight) pooled + weight structural`.

    Args:
        marginals: name of a scheme in `MARGINALS`, a function from correlations (..., r) to weights (..., r), or the
            caller's own weights as a pair of tensors (n_a, r_a), (n_b, r_b), one row per image.
        weight: share of the structural similarity, 0..1.
        eps: strength of the entropy (see `transport_plan`).
        tolerance: L1 error of the marginals at which a pair stops: 1e-3 ranks, 1e-6 explains.
        max_iterations: where an unconverged pair stops.

    Raises:
        UsageError: an unknown scheme, or a number out of its range.

    >>> import torch
    >>> maps = FeatureMaps(torch.eye(4).reshape(1, 4, 4), grid=(2, 2))
    >>> Matcher().similarity(maps, maps).shape
    torch.Size([1, 1])
    """

    marginals: str | Marginal | tuple[Tensor, Tensor] = "uniform"
    weight: float = 0.5
    eps: float = 0.05
    tolerance: float = 1e-3
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        if isinstance(self.marginals, str) and self.marginals not in MARGINALS:
            raise UsageError(f"marginals {self.marginals!r} came; expected one of {', '.join(MARGINALS)}")
        if not 0 <= self.weight <= 1:
            raise UsageError(f"weight {self.weight} came; expected 0 (pooled only) to 1 (structural only)")
        if not self.eps > 0 or not self.tolerance >= 0 or self.max_iterations < 1:
            raise UsageError("expected eps > 0, tolerance >= 0 and max_iterations >= 1")

    def replace(self, **changes: object) -> Matcher:
        """The same matcher with some settings changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def tight(self) -> Matcher:
        """For numbers that are shown: marginal tolerance 1e-6 (give it float64 maps) and iterations to reach it."""
        return self.replace(tolerance=min(self.tolerance, 1e-6), max_iterations=max(self.max_iterations, 10_000))

    def match(self, maps_a: FeatureMaps, maps_b: FeatureMaps) -> Match:
        """Match image k of a with image k of b, keeping the plans.

        Raises:
            UsageError: different numbers of images, or another dim.
        """
        if len(maps_a) != len(maps_b):
            raise UsageError(
                f"{len(maps_a)} images came to be matched one by one with {len(maps_b)}; give as many of each, "
                "or ask similarity() for all pairs"
            )
        rows_a, rows_b = _both(maps_a, maps_b)
        pairs = torch.arange(len(maps_a), device=maps_a.device)
        plans = [plan for _, plan in self._chunks(rows_a, rows_b, pairs, pairs)]
        return Match(maps_a, maps_b, _join(plans, maps_a.parts, maps_b.parts, rows_a.rows), self.weight)

    def pairs(
        self,
        maps_a: FeatureMaps | UnitMaps,
        maps_b: FeatureMaps | UnitMaps,
        i: Int[Tensor, " p"],
        j: Int[Tensor, " p"],
    ) -> PairScores:
        """Score the pairs (a[i_k], b[j_k]): the primitive on which matrices, shortlists and losses stand.

        Differentiable with respect to the maps, the plan held fixed. Memory beyond the inputs and the scores does not
        grow with the number of pairs where no gradient is asked for.

        >>> import torch
        >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
        >>> Matcher().pairs(maps, maps, torch.tensor([0, 0]), torch.tensor([0, 1])).pooled.round()
        tensor([1., 0.])
        """
        rows_a, rows_b = _both(maps_a, maps_b)
        i, j = (index.to(rows_a.rows.device).reshape(-1) for index in (i, j))
        if found := self._twin(rows_a, rows_b):
            twin, settings = found
            scores = twin.score_pairs(rows_a.rows, rows_b.rows, i, j, settings)
            return self._completed(scores, rows_a, rows_b, i, j)
        return self._reference(rows_a, rows_b, i, j)

    @torch.no_grad()
    def plans(
        self,
        maps_a: FeatureMaps | UnitMaps,
        maps_b: FeatureMaps | UnitMaps,
        i: Int[Tensor, " p"],
        j: Int[Tensor, " p"],
    ) -> TransportPlan:
        """The plans of the pairs (a[i_k], b[j_k]), (p, r_a, r_b), without a gradient: for losses, which hold them fixed.

        >>> import torch
        >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
        >>> Matcher().plans(maps, maps, torch.tensor([0]), torch.tensor([0])).plan.sum(dim=2)
        tensor([[0.5000, 0.5000]])
        """
        rows_a, rows_b = _both(maps_a, maps_b)
        i, j = (index.to(rows_a.rows.device).reshape(-1) for index in (i, j))
        solved = [plan for _, plan in self._chunks(rows_a, rows_b, i, j)]
        return _join(solved, rows_a.parts, rows_b.parts, rows_a.rows)

    def _reference(self, rows_a: UnitMaps, rows_b: UnitMaps, i: Tensor, j: Tensor) -> PairScores:
        columns: list[tuple[Tensor, ...]] = []
        for product, solved in self._chunks(rows_a, rows_b, i, j):
            structural = (solved.plan * product[:, :-1, :-1]).sum(dim=(1, 2))
            pooled = product[:, -1, -1]
            similarity = (1 - self.weight) * pooled + self.weight * structural
            columns.append((similarity, structural, pooled, solved.converged, solved.iterations))
        if not columns:
            empty = rows_a.rows.new_zeros(0)
            return PairScores(empty, empty, empty, empty.bool(), empty.long())
        return PairScores(*(torch.cat(column) for column in zip(*columns, strict=True)))

    def similarity(self, maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | UnitMaps) -> Float[Tensor, "n m"]:
        """(n, m) similarity of all pairs, tile by tile; a set with itself is solved once per unordered pair."""
        rows_a, rows_b = _both(maps_a, maps_b)
        n, m = len(rows_a), len(rows_b)
        if self._twin(rows_a, rows_b):
            matrix = rows_a.rows.new_empty(n, m)
            for tile in self.tiles(rows_a, rows_b):
                matrix[tile.rows, tile.columns] = tile.similarity
                if rows_b is rows_a:
                    matrix[tile.columns, tile.rows] = tile.similarity.mT
            return matrix
        symmetric = maps_b is maps_a and not isinstance(self.marginals, tuple)
        scores = [
            self.pairs(rows_a, rows_b, i, j).similarity for i, j in _all_pairs(n, m, symmetric, rows_a.rows.device)
        ]
        flat = torch.cat(scores) if scores else rows_a.rows.new_zeros(0)
        if not symmetric:
            return flat.reshape(n, m)
        i, j = torch.triu_indices(n, n, device=flat.device)
        matrix = flat.new_zeros(n, n).index_put((i, j), flat)
        return matrix + matrix.triu(1).mT

    def tiles(self, maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | UnitMaps, side: int = SIDE) -> Iterator[Tile]:
        """The similarities of all pairs as a stream of tiles, so that the whole matrix is never held.

        Of a set with itself only the tiles on and above the diagonal come, each unordered pair being solved once, with
        the lower index first; those above it stand for two.
        """
        rows_a, rows_b = _both(maps_a, maps_b)
        symmetric = rows_b is rows_a
        for top in range(0, len(rows_a), side):
            for left in range(top if symmetric else 0, len(rows_b), side):
                rows = slice(top, min(top + side, len(rows_a)))
                columns = slice(left, min(left + side, len(rows_b)))
                a = UnitMaps(rows_a.rows[rows])
                b = a if symmetric and top == left else UnitMaps(rows_b.rows[columns])
                yield Tile(rows, columns, self._tile(a, b))

    def _tile(self, a: UnitMaps, b: UnitMaps) -> Float[Tensor, "n m"]:
        n, m = len(a), len(b)
        if found := self._twin(a, b):
            twin, settings = found
            flat = Scores(*(score.reshape(-1) for score in twin.score_matrix(a.rows, b.rows, settings)))
            at = torch.arange(n * m, device=a.rows.device)
            return self._completed(flat, a, b, at // m, at % m).similarity.reshape(n, m)
        [(i, j)] = _all_pairs(n, m, False, a.rows.device, block=n)
        similarity = self._reference(a, b, i, j).similarity.reshape(n, m)
        return similarity.triu() + similarity.triu(1).mT if b is a else similarity

    def bounds(
        self, maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]] | None:
        """Upper bounds of the structural similarity, and the pooled similarity, of pairs: `sum_j mu_j max_i S_ij`.

        None where the kernel in use has no cheap way to them. See `diml.matching.top_k` for the proof.
        """
        rows_a, rows_b = _both(maps_a, maps_b)
        found = self._twin(rows_a, rows_b)
        bound = getattr(found[0], "bound_pairs", None) if found else None
        return bound(rows_a.rows, rows_b.rows, i, j, found[1]) if bound and found else None

    def _twin(self, a: UnitMaps, b: UnitMaps) -> tuple[Twin, Settings] | None:
        """The compiled twin that can do this; None where the reference has to."""
        wants_gradient = torch.is_grad_enabled() and (a.rows.requires_grad or b.rows.requires_grad)
        if wants_gradient or not isinstance(self.marginals, str) or a.rows.device != b.rows.device:
            return None
        settings = Settings(self.marginals, self.eps, self.tolerance, self.max_iterations)
        twin = choose(a.rows.device)
        if twin is None or twin.unsupported(a.parts, b.parts, a.rows.dtype, settings):
            return None
        return twin, settings

    def _completed(self, scores: Scores, a: UnitMaps, b: UnitMaps, i: Tensor, j: Tensor) -> PairScores:
        """A twin's scores, the pairs that it could not do solved by the reference."""
        similarity = (1 - self.weight) * scores.pooled + self.weight * scores.structural
        found = PairScores(similarity, scores.structural, scores.pooled, scores.converged, scores.iterations.long())
        left = (scores.iterations < 0).nonzero()[:, 0]
        if len(left):
            solved = self._reference(a, b, i[left], j[left])
            for field in dataclasses.fields(PairScores):
                getattr(found, field.name)[left] = getattr(solved, field.name)
        return found

    def rerank(
        self,
        query_maps: FeatureMaps | UnitMaps,
        gallery_maps: FeatureMaps | UnitMaps,
        shortlist: Int[Tensor, "q k"],
    ) -> Float[Tensor, "q k"]:
        """Similarity of every query with the gallery images on its shortlist, in the shortlist's order.

        Args:
            query_maps: of q images.
            gallery_maps: of n images.
            shortlist: (q, K) indices into the gallery.
        """
        if shortlist.ndim != 2 or len(shortlist) != len(query_maps):
            raise UsageError(
                f"a shortlist of shape {tuple(shortlist.shape)} came for {len(query_maps)} queries; "
                "expected (queries, K)"
            )
        i = torch.arange(len(query_maps)).repeat_interleave(shortlist.shape[1])
        return self.pairs(query_maps, gallery_maps, i, shortlist.reshape(-1)).similarity.reshape(shortlist.shape)

    def _chunks(
        self, rows_a: UnitMaps, rows_b: UnitMaps, i: Tensor, j: Tensor
    ) -> Iterator[tuple[Float[Tensor, "c rows_a rows_b"], TransportPlan]]:
        """Products of the unit rows, and the plans, of the pairs, some hundreds at a time."""
        weights = self._given(rows_a, rows_b)
        for start in range(0, len(i), CHUNK):
            at_i, at_j = i[start : start + CHUNK], j[start : start + CHUNK]
            product = rows_a.rows[at_i] @ rows_b.rows[at_j].mT
            fixed = product.detach()
            if weights is None:
                scheme = MARGINALS[self.marginals] if isinstance(self.marginals, str) else self.marginals
                mu_a, mu_b = scheme(fixed[:, :-1, -1]), scheme(fixed[:, -1, :-1])  # type: ignore[operator]
            else:
                mu_a, mu_b = weights[0][at_i], weights[1][at_j]
            plan = transport_plan(fixed[:, :-1, :-1], mu_a, mu_b, self.eps, self.tolerance, self.max_iterations)
            yield product, plan

    def _given(self, rows_a: UnitMaps, rows_b: UnitMaps) -> tuple[Tensor, Tensor] | None:
        if not isinstance(self.marginals, tuple):
            return None
        mu_a, mu_b = (mu.detach().to(rows_a.rows) for mu in self.marginals)
        return given(mu_a, len(rows_a), rows_a.parts, "a"), given(mu_b, len(rows_b), rows_b.parts, "b")


def _both(maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | UnitMaps) -> tuple[UnitMaps, UnitMaps]:
    a = prepare(maps_a)
    b = a if maps_b is maps_a else prepare(maps_b)
    if b is a:
        return a, a
    if a.rows.shape[2] != b.rows.shape[2]:
        raise UsageError(
            f"maps of dim {a.rows.shape[2]} came to be matched with maps of dim {b.rows.shape[2]}; embed both alike"
        )
    dtype = torch.promote_types(a.rows.dtype, b.rows.dtype)
    return UnitMaps(a.rows.to(dtype)), UnitMaps(b.rows.to(dtype))


def _all_pairs(
    n: int, m: int, symmetric: bool, device: torch.device, block: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Index lists of all pairs, row by row; of the upper triangle where symmetric, as the canonical order is i <= j."""
    block = block or max(1, TILE // max(m, 1))
    for start in range(0, n, block):
        rows = min(block, n - start)
        if symmetric:
            i, j = torch.triu_indices(rows, m - start, device=device)
            yield i + start, j + start
        else:
            i = torch.arange(start, start + rows, device=device)
            yield i.repeat_interleave(m), torch.arange(m, device=device).repeat(rows)


def _join(plans: list[TransportPlan], parts_a: int, parts_b: int, like: Tensor) -> TransportPlan:
    if not plans:
        empty = like.new_zeros(0, parts_a, parts_b)
        return TransportPlan(empty, empty.new_zeros(0).long(), empty.new_zeros(0), empty.new_zeros(0).bool())
    return TransportPlan(
        torch.cat([p.plan for p in plans]),
        torch.cat([p.iterations for p in plans]),
        torch.cat([p.error for p in plans]),
        torch.cat([p.converged for p in plans]),
    )
