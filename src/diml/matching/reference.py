"""The reference: plans and scores in plain PyTorch, for any device, dtype and marginals, with gradients.

The backends in `diml.matching.kernels` compute the same numbers faster, where they can.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching.marginals import MARGINALS, given
from diml.matching.partial import partial_plan
from diml.matching.score import PairScores, combine
from diml.matching.settings import MatchSettings
from diml.matching.transport import CHUNK, TransportPlan, transport_plan
from diml.matching.unit_maps import UnitMaps

# Below this tolerance callers want the exact solution, so Newton's steps take over after this many of Sinkhorn's
# iterations, which alone need thousands for some pairs of real images.
TIGHT, NEWTON_AFTER = 1e-5, 20

Weights = tuple[Float[Tensor, "n r_a"], Float[Tensor, "m r_b"]]


def pair_scores(
    settings: MatchSettings, a: UnitMaps, b: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
) -> PairScores:
    """Scores of the pairs (a[i_k], b[j_k]); differentiable with respect to the maps, the plan held fixed."""
    columns: list[tuple[Tensor, ...]] = []
    for product, solved in _chunks(settings, a, b, i, j):
        structural = (solved.plan * product[:, :-1, :-1]).sum(dim=(1, 2))
        pooled = product[:, -1, -1]
        similarity = combine(pooled, structural, settings.weight)
        columns.append((similarity, structural, pooled, solved.converged, solved.iterations))
    if not columns:
        empty = a.rows.new_zeros(0)
        return PairScores(empty, empty, empty, empty.bool(), empty.long())
    return PairScores(*(torch.cat(column) for column in zip(*columns, strict=True)))


def pair_plans(
    settings: MatchSettings, a: UnitMaps, b: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
) -> TransportPlan:
    """Plans of the pairs (a[i_k], b[j_k]), (p, r_a, r_b)."""
    plans = [plan for _, plan in _chunks(settings, a, b, i, j)]
    return _joined(plans, a.parts, b.parts, a.rows)


def product_plans(
    settings: MatchSettings, products: Float[Tensor, "n rows_a m rows_b"], i: Int[Tensor, " p"], j: Int[Tensor, " p"]
) -> TransportPlan:
    """As `pair_plans`, from the products of the unit rows of n images with those of m."""
    n, rows_a, m, rows_b = products.shape
    weights = _given(settings, (n, rows_a - 1), (m, rows_b - 1), products)
    pieces = [slice(start, start + CHUNK) for start in range(0, len(i), CHUNK)]
    plans = [_plan(settings, products[i[at], :, j[at]], weights, i[at], j[at]) for at in pieces]
    return _joined(plans, rows_a - 1, rows_b - 1, products)


def _chunks(
    settings: MatchSettings, a: UnitMaps, b: UnitMaps, i: Tensor, j: Tensor
) -> Iterator[tuple[Float[Tensor, "c rows_a rows_b"], TransportPlan]]:
    """Products of the unit rows, and the plans, of the pairs, some hundreds at a time."""
    weights = _given(settings, (len(a), a.parts), (len(b), b.parts), a.rows)
    for start in range(0, len(i), CHUNK):
        at_i, at_j = i[start : start + CHUNK], j[start : start + CHUNK]
        product = a.rows[at_i] @ b.rows[at_j].mT
        yield product, _plan(settings, product.detach(), weights, at_i, at_j)


def _plan(
    settings: MatchSettings, product: Float[Tensor, "c rows_a rows_b"], weights: Weights | None, i: Tensor, j: Tensor
) -> TransportPlan:
    if weights is None:
        scheme = MARGINALS[settings.marginals] if isinstance(settings.marginals, str) else settings.marginals
        mu_a, mu_b = scheme(product[:, :-1, -1]), scheme(product[:, -1, :-1])  # type: ignore[operator]
    else:
        mu_a, mu_b = weights[0][i], weights[1][j]
    newton_after = NEWTON_AFTER if settings.tolerance < TIGHT else None
    limits = settings.eps, settings.tolerance, settings.max_iterations, newton_after
    if settings.mass < 1:
        return partial_plan(product[:, :-1, :-1], mu_a, mu_b, settings.mass, *limits)
    return transport_plan(product[:, :-1, :-1], mu_a, mu_b, *limits)


def _given(settings: MatchSettings, a: tuple[int, int], b: tuple[int, int], like: Tensor) -> Weights | None:
    """The caller's own weights of images and parts (n, r) of each side, checked; None for a scheme."""
    if not isinstance(settings.marginals, tuple):
        return None
    mu_a, mu_b = (mu.detach().to(like) for mu in settings.marginals)
    return given(mu_a, *a, "a"), given(mu_b, *b, "b")


def _joined(plans: list[TransportPlan], parts_a: int, parts_b: int, like: Tensor) -> TransportPlan:
    if not plans:
        empty = like.new_zeros(0, parts_a, parts_b)
        return TransportPlan(empty, empty.new_zeros(0).long(), empty.new_zeros(0), empty.new_zeros(0).bool())
    return TransportPlan(
        torch.cat([p.plan for p in plans]),
        torch.cat([p.iterations for p in plans]),
        torch.cat([p.error for p in plans]),
        torch.cat([p.converged for p in plans]),
    )
