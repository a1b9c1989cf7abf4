"""The matcher: settings of the matching, and the one primitive on which all of it stands, a list of pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.kernels import (
    Backend,
    BackendPlans,
    BackendScores,
    BackendSettings,
    BoundBackend,
    PlanBackend,
    ShortlistBackend,
    choose_backend,
    whole,
)
from diml.matching.marginals import MARGINALS, Marginal, check_given, given
from diml.matching.match import Match
from diml.matching.partial import check_mass, partial_plan
from diml.matching.transport import CHUNK, TransportPlan, check_limits, transport_plan
from diml.matching.unit_maps import UnitMaps, both

# Pairs whose indices exist at once where a whole matrix is asked for.
TILE = 64 * CHUNK
# Who asks for less wants the solution itself: Newton's steps take over then, where the reference solves, after so many
# of Sinkhorn's iterations, which alone need thousands for some pairs of real images.
TIGHT, NEWTON_AFTER = 1e-5, 20
# Images on each side of a tile that is streamed: a megabyte of scores.
SIDE = 512


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
        eps: strength of the entropy, at least 1e-9 (see `transport_plan`).
        tolerance: L1 error of the marginals at which a pair stops: 1e-3 ranks, 1e-6 explains. Below 1e-5 the reference
            ends with Newton's steps.
        max_iterations: where an unconverged pair stops.
        mass: share of the mass that is moved, above 0 and up to 1; below 1 parts without a counterpart need not be
            matched, and the structural similarity is the mean over what is (see `partial_plan`). Below 1 the reference
            does it, which is slower.

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
    mass: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.marginals, str) and self.marginals not in MARGINALS:
            raise UsageError(f"marginals {self.marginals!r} came; expected one of {', '.join(MARGINALS)}")
        if not isinstance(self.marginals, str) and not callable(self.marginals):
            check_given(self.marginals)
        if not 0 <= self.weight <= 1:
            raise UsageError(f"weight {self.weight} came; expected 0 (pooled only) to 1 (structural only)")
        check_limits(self.eps, self.tolerance, self.max_iterations)
        check_mass(self.mass)

    def replace(self, **changes: object) -> Matcher:
        """The same matcher with some settings changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def tight(self) -> Matcher:
        """For numbers that are shown: marginal tolerance 1e-6 (give it float64 maps) and iterations to reach it."""
        return self.replace(tolerance=min(self.tolerance, 1e-6), max_iterations=max(self.max_iterations, 10_000))

    def of_images(self, a: slice, b: slice) -> Matcher:
        """The same matcher for some images of either side: weights given image by image are cut as their maps are."""
        if not isinstance(self.marginals, tuple):
            return self
        mu_a, mu_b = self.marginals
        return self.replace(marginals=(mu_a[a], mu_b[b]))

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
        rows_a, rows_b = both(maps_a, maps_b)
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
        rows_a, rows_b = both(maps_a, maps_b)
        i, j = _lists(i, j, rows_a.device)
        if found := self._backend(rows_a, rows_b):
            backend, settings = found
            scores = backend.score_pairs(rows_a.held, rows_b.held, i, j, settings)
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
        """The plans of the pairs (a[i_k], b[j_k]), (p, r_a, r_b), without a gradient: losses hold them fixed.

        >>> import torch
        >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
        >>> Matcher().plans(maps, maps, torch.tensor([0]), torch.tensor([0])).plan.sum(dim=2)
        tensor([[0.5000, 0.5000]])
        """
        rows_a, rows_b = both(maps_a, maps_b)
        i, j = _lists(i, j, rows_a.device)

        def reference(i: Tensor, j: Tensor) -> TransportPlan:
            solved = [plan for _, plan in self._chunks(rows_a, rows_b, i, j)]
            return _join(solved, rows_a.parts, rows_b.parts, rows_a.rows)

        found = self._backend(rows_a, rows_b)
        if not found or not isinstance(found[0], PlanBackend):
            return reference(i, j)
        return _planned(found[0].plan_pairs(rows_a.held, rows_b.held, i, j, found[1]), i, j, reference)

    @torch.no_grad()
    def plans_of(
        self, products: Float[Tensor, "n rows_a m rows_b"], i: Int[Tensor, " p"], j: Int[Tensor, " p"]
    ) -> TransportPlan:
        """As `plans`, where the products of the unit rows of n images with those of m are there already.

        A loss over all pairs of a batch has them, by one matrix product, and is spared their second computation.

        Args:
            products: (n, r_a + 1, m, r_b + 1); of each side's rows the last is the pooled one, as in `UnitMaps`.
            i, j: (p,) pairs of the n and m images, not negative.

        >>> import torch
        >>> from diml.matching import prepare
        >>> rows = prepare(FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))).rows
        >>> one, products = torch.tensor([0]), torch.einsum("nkd,mld->nkml", rows, rows)
        >>> Matcher().plans_of(products, one, one).plan.sum(dim=2)
        tensor([[0.5000, 0.5000]])
        """
        n, parts_a, m, parts_b = products.shape
        i, j = _lists(i, j, products.device)
        weights = self._given((n, parts_a - 1), (m, parts_b - 1), products)

        def reference(i: Tensor, j: Tensor) -> TransportPlan:
            pieces = [slice(start, start + CHUNK) for start in range(0, len(i), CHUNK)]
            solved = [self._plan(products[i[at], :, j[at]], weights, i[at], j[at]) for at in pieces]
            return _join(solved, parts_a - 1, parts_b - 1, products)

        found = self._backend_for(parts_a - 1, parts_b - 1, products.dtype, products.device)
        if not found or not isinstance(found[0], PlanBackend):
            return reference(i, j)
        return _planned(found[0].plan_products(products, i, j, found[1]), i, j, reference)

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
        rows_a, rows_b = both(maps_a, maps_b)
        n, m = len(rows_a), len(rows_b)
        if self._backend(rows_a, rows_b):
            matrix = torch.empty(n, m, dtype=rows_a.dtype, device=rows_a.device)
            for tile in self.tiles(rows_a, rows_b):
                matrix[tile.rows, tile.columns] = tile.similarity
                if rows_b is rows_a:
                    matrix[tile.columns, tile.rows] = tile.similarity.mT
            return matrix
        symmetric = maps_b is maps_a and not isinstance(self.marginals, tuple)
        scores = [self.pairs(rows_a, rows_b, i, j).similarity for i, j in _all_pairs(n, m, symmetric, rows_a.device)]
        flat = torch.cat(scores) if scores else rows_a.rows.new_zeros(0)
        if not symmetric:
            return flat.reshape(n, m)
        i, j = torch.triu_indices(n, n, device=flat.device)
        matrix = flat.new_zeros(n, n).index_put((i, j), flat)
        return matrix + matrix.triu(1).mT

    def tiles(self, maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | UnitMaps, side: int = SIDE) -> Iterator[Tile]:
        """The similarities of all pairs as a stream of tiles, so that the whole matrix is never held.

        Of a set with itself only the tiles on and above the diagonal come, each unordered pair being solved once, with
        the lower index first; those above it stand for two. All come where the caller gave weights image by image, as
        an image's may be others on either side.
        """
        rows_a, rows_b = both(maps_a, maps_b)
        symmetric = rows_b is rows_a and not isinstance(self.marginals, tuple)
        for top in range(0, len(rows_a), side):
            for left in range(top if symmetric else 0, len(rows_b), side):
                rows = slice(top, min(top + side, len(rows_a)))
                columns = slice(left, min(left + side, len(rows_b)))
                a = rows_a[rows]
                b = a if symmetric and top == left else rows_b[columns]
                yield Tile(rows, columns, self.of_images(rows, columns)._tile(a, b))

    def _tile(self, a: UnitMaps, b: UnitMaps) -> Float[Tensor, "n m"]:
        n, m = len(a), len(b)
        if found := self._backend(a, b):
            backend, settings = found
            flat = BackendScores(*(score.reshape(-1) for score in backend.score_matrix(a.held, b.held, settings)))
            at = torch.arange(n * m, device=a.device)
            return self._completed(flat, a, b, at // m, at % m).similarity.reshape(n, m)
        [(i, j)] = _all_pairs(n, m, False, a.device, block=n)
        similarity = self._reference(a, b, i, j).similarity.reshape(n, m)
        return similarity.triu() + similarity.triu(1).mT if b is a else similarity

    def bounds(
        self, maps_a: FeatureMaps | UnitMaps, maps_b: FeatureMaps | UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]] | None:
        """Upper bounds of the structural similarity, and the pooled similarity, of pairs: `sum_j mu_j max_i S_ij`.

        None where the kernel in use has no cheap way to them. See `diml.matching.top_k` for the proof.
        """
        rows_a, rows_b = both(maps_a, maps_b)
        i, j = _lists(i, j, rows_a.device)
        found = self._backend(rows_a, rows_b)
        if not found or not isinstance(found[0], BoundBackend):
            return None
        return found[0].bound_pairs(rows_a.held, rows_b.held, i, j, found[1])

    def _backend(self, a: UnitMaps, b: UnitMaps) -> tuple[Backend, BackendSettings] | None:
        """The compiled backend that can do this; None where the reference has to."""
        wants_gradient = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
        if wants_gradient or a.device != b.device:
            return None
        return self._backend_for(a.parts, b.parts, a.dtype, a.device)

    def _backend_for(
        self, parts_a: int, parts_b: int, dtype: torch.dtype, device: torch.device
    ) -> tuple[Backend, BackendSettings] | None:
        if not isinstance(self.marginals, str) or self.mass < 1:
            return None
        settings = BackendSettings(self.marginals, self.eps, self.tolerance, self.max_iterations)
        backend = choose_backend(device)
        if backend is None or backend.unsupported(parts_a, parts_b, dtype, settings):
            return None
        return backend, settings

    def _completed(self, scores: BackendScores, a: UnitMaps, b: UnitMaps, i: Tensor, j: Tensor) -> PairScores:
        """A backend's scores, the pairs that it could not do solved by the reference."""
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
        rows_a, rows_b = both(query_maps, gallery_maps)
        i = torch.arange(len(rows_a), device=rows_a.device).repeat_interleave(shortlist.shape[1])
        i, j = _lists(i, shortlist, rows_a.device)
        found = self._backend(rows_a, rows_b)
        if not found or not isinstance(found[0], ShortlistBackend):
            return self.pairs(rows_a, rows_b, i, j).similarity.reshape(shortlist.shape)
        scores = found[0].score_shortlists(rows_a.held, rows_b.held, j.reshape(shortlist.shape), found[1])
        flat = BackendScores(*(score.reshape(-1) for score in scores))
        return self._completed(flat, rows_a, rows_b, i, j).similarity.reshape(shortlist.shape)

    def _chunks(
        self, rows_a: UnitMaps, rows_b: UnitMaps, i: Tensor, j: Tensor
    ) -> Iterator[tuple[Float[Tensor, "c rows_a rows_b"], TransportPlan]]:
        """Products of the unit rows, and the plans, of the pairs, some hundreds at a time."""
        weights = self._given((len(rows_a), rows_a.parts), (len(rows_b), rows_b.parts), rows_a.rows)
        for start in range(0, len(i), CHUNK):
            at_i, at_j = i[start : start + CHUNK], j[start : start + CHUNK]
            product = rows_a.rows[at_i] @ rows_b.rows[at_j].mT
            yield product, self._plan(product.detach(), weights, at_i, at_j)

    def _plan(
        self, product: Float[Tensor, "c rows_a rows_b"], weights: tuple[Tensor, Tensor] | None, i: Tensor, j: Tensor
    ) -> TransportPlan:
        if weights is None:
            scheme = MARGINALS[self.marginals] if isinstance(self.marginals, str) else self.marginals
            mu_a, mu_b = scheme(product[:, :-1, -1]), scheme(product[:, -1, :-1])  # type: ignore[operator]
        else:
            mu_a, mu_b = weights[0][i], weights[1][j]
        return self._solved(product[:, :-1, :-1], mu_a, mu_b)

    def _solved(self, local: Tensor, mu_a: Tensor, mu_b: Tensor) -> TransportPlan:
        limits = self.eps, self.tolerance, self.max_iterations, NEWTON_AFTER if self.tolerance < TIGHT else None
        if self.mass < 1:
            return partial_plan(local, mu_a, mu_b, self.mass, *limits)
        return transport_plan(local, mu_a, mu_b, *limits)

    def _given(self, a: tuple[int, int], b: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor] | None:
        """The caller's own weights of images and parts (n, r) of each side, checked; None for a scheme."""
        if not isinstance(self.marginals, tuple):
            return None
        mu_a, mu_b = (mu.detach().to(like) for mu in self.marginals)
        return given(mu_a, *a, "a"), given(mu_b, *b, "b")


def _lists(i: Tensor, j: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """Indices of pairs, flat, int64, on a device: compiled code looks where it is told."""
    i, j = (whole(index).to(device).reshape(-1) for index in (i, j))
    if len(i) != len(j):
        raise UsageError(f"{len(i)} images of a came to be paired with {len(j)} of b; give as many of each")
    return i, j


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


def _planned(
    plans: BackendPlans, i: Tensor, j: Tensor, reference: Callable[[Tensor, Tensor], TransportPlan]
) -> TransportPlan:
    """A backend's plans, those that it could not make made by the reference."""
    found = TransportPlan(plans.plan, plans.iterations.long(), plans.error, plans.converged)
    left = (plans.iterations < 0).nonzero()[:, 0]
    if len(left):
        solved = reference(i[left], j[left])
        for field in dataclasses.fields(TransportPlan):
            getattr(found, field.name)[left] = getattr(solved, field.name)
    return found
