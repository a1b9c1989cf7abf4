"""The reference: plans and scores in plain PyTorch, for any device, dtype and marginals, with gradients.

The backends in `diml.matching.kernels` compute the same numbers faster, where they can.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching.dustbin import dustbin_plan
from diml.matching.kernels import PartWeights
from diml.matching.marginals import given, marginals_of, times_part_weights
from diml.matching.one_sided import one_sided_plan
from diml.matching.partial import partial_plan
from diml.matching.score import PairScores, combine
from diml.matching.settings import MatchSettings
from diml.matching.transport import CHUNK, TransportPlan, transport_plan
from diml.matching.unit_maps import UnitMaps, weights_of

# Below this tolerance callers want the exact solution, so Newton's steps take over after this many of Sinkhorn's
# iterations, which alone need thousands for some pairs of real images.
TIGHT, NEWTON_AFTER = 1e-5, 20

Weights = tuple[Float[Tensor, "n r_a"], Float[Tensor, "m r_b"]]


class Solved(NamedTuple):
    """Plans of some pairs, and the marginals that they were solved for."""

    plan: TransportPlan
    mu_a: Float[Tensor, "p r_a"]
    mu_b: Float[Tensor, "p r_b"]


def pair_scores(
    settings: MatchSettings, a: UnitMaps, b: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
) -> PairScores:
    """Scores of the pairs (a[i_k], b[j_k]); differentiable with respect to the maps, the plan held fixed."""
    columns: list[tuple[Tensor, ...]] = []
    for product, solved in _chunks(settings, a, b, i, j):
        plan = solved.plan.plan
        structural = (plan * product[:, :-1, :-1]).sum(dim=(1, 2))
        if settings.transport == "dustbin":
            structural = structural + settings.bin_similarity * (1 - plan.sum(dim=(1, 2)))
        pooled = product[:, -1, -1]
        similarity = combine(pooled, structural, settings.weight)
        columns.append((similarity, structural, pooled, solved.plan.converged, solved.plan.iterations))
    if not columns:
        empty = a.rows.new_zeros(0)
        return PairScores(empty, empty, empty, empty.bool(), empty.long())
    return PairScores(*(torch.cat(column) for column in zip(*columns, strict=True)))


def pair_plans(settings: MatchSettings, a: UnitMaps, b: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> Solved:
    """Plans of the pairs (a[i_k], b[j_k]), (p, r_a, r_b), and their marginals."""
    return _joined([solved for _, solved in _chunks(settings, a, b, i, j)], a.parts, b.parts, a.rows)


def product_plans(
    settings: MatchSettings,
    products: Float[Tensor, "n rows_a m rows_b"],
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    part_weights: PartWeights | None = None,
) -> TransportPlan:
    """The plans of `pair_plans`, from the products of the unit rows of n images with those of m."""
    n, rows_a, m, rows_b = products.shape
    given_ = _given(settings, (n, rows_a - 1), (m, rows_b - 1), products)
    pieces = [slice(start, start + CHUNK) for start in range(0, len(i), CHUNK)]
    solved = [_solved(settings, products[i[at], :, j[at]], given_, part_weights, i[at], j[at]) for at in pieces]
    return _joined(solved, rows_a - 1, rows_b - 1, products).plan


def _chunks(
    settings: MatchSettings, a: UnitMaps, b: UnitMaps, i: Tensor, j: Tensor
) -> Iterator[tuple[Float[Tensor, "c rows_a rows_b"], Solved]]:
    """Products of the unit rows, and the plans, of the pairs, some hundreds at a time."""
    given_ = _given(settings, (len(a), a.parts), (len(b), b.parts), a.rows)
    part_weights = weights_of(a, b)
    for start in range(0, len(i), CHUNK):
        at_i, at_j = i[start : start + CHUNK], j[start : start + CHUNK]
        product = a.rows[at_i] @ b.rows[at_j].mT
        yield product, _solved(settings, product.detach(), given_, part_weights, at_i, at_j)


def _solved(
    settings: MatchSettings,
    product: Float[Tensor, "c rows_a rows_b"],
    given_: Weights | None,
    part_weights: PartWeights | None,
    i: Tensor,
    j: Tensor,
) -> Solved:
    if given_ is not None:
        mu_a, mu_b = given_[0][i], given_[1][j]
    else:
        assert not isinstance(settings.marginals, tuple)
        mu_a, mu_b = marginals_of(settings.marginals, product)
        if part_weights is not None:
            mu_a, mu_b = times_part_weights(mu_a, part_weights.a[i]), times_part_weights(mu_b, part_weights.b[j])
    return Solved(_plan(settings, product[:, :-1, :-1], mu_a, mu_b), mu_a, mu_b)


def _plan(settings: MatchSettings, similarity: Tensor, mu_a: Tensor, mu_b: Tensor) -> TransportPlan:
    newton_after = NEWTON_AFTER if settings.tolerance < TIGHT else None
    limits = settings.eps, settings.tolerance, settings.max_iterations, newton_after
    if settings.transport == "one-sided":
        return one_sided_plan(similarity, mu_a, mu_b, settings.eps)
    if settings.transport == "dustbin":
        return dustbin_plan(similarity, mu_a, mu_b, settings.bin_similarity, *limits)
    if settings.mass < 1:
        return partial_plan(similarity, mu_a, mu_b, settings.mass, *limits)
    return transport_plan(similarity, mu_a, mu_b, *limits)


def _given(settings: MatchSettings, a: tuple[int, int], b: tuple[int, int], like: Tensor) -> Weights | None:
    """The caller's own weights of images and parts (n, r) of each side, checked; None for a scheme."""
    if not isinstance(settings.marginals, tuple):
        return None
    mu_a, mu_b = (mu.detach().to(like) for mu in settings.marginals)
    return given(mu_a, *a, "a"), given(mu_b, *b, "b")


def _joined(solved: list[Solved], parts_a: int, parts_b: int, like: Tensor) -> Solved:
    if not solved:
        empty = like.new_zeros(0, parts_a, parts_b)
        none = TransportPlan(empty, empty.new_zeros(0).long(), empty.new_zeros(0), empty.new_zeros(0).bool())
        return Solved(none, empty.sum(dim=2), empty.sum(dim=1))
    plans = [each.plan for each in solved]
    plan = TransportPlan(
        torch.cat([p.plan for p in plans]),
        torch.cat([p.iterations for p in plans]),
        torch.cat([p.error for p in plans]),
        torch.cat([p.converged for p in plans]),
    )
    return Solved(plan, torch.cat([each.mu_a for each in solved]), torch.cat([each.mu_b for each in solved]))
