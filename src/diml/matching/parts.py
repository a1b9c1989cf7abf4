"""One-sided matching: chosen parts of one image are matched with any parts of another."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, weighted_mean
from diml.matching.defaults import EPS
from diml.matching.marginals import given
from diml.matching.match import Match
from diml.matching.transport import TransportPlan
from diml.matching.unit_maps import prepare

# Images whose local similarities are held in memory at once.
CHUNK = 1024


def find_part(maps_a: FeatureMaps, maps_b: FeatureMaps, weights: Float[Tensor, "n r_a"], eps: float = EPS) -> Match:
    """Match the chosen parts of image k of a with the most similar parts of image k of b.

    `T_ij = mu_i softmax_j(S_ij / eps)`: only the rows have marginals, so the part may be anywhere in b, and whatever
    else b shows does not count. This plan minimises the objective of `transport_plan` under the constraint on the rows
    alone. The similarity is `sum T_ij S_ij`, weight 1, and equals the sum of the contributions exactly.

    Args:
        maps_a: feature maps of n images.
        maps_b: feature maps of n images, one for each image of a.
        weights: (n, r_a), >= 0, of the cells of a; multiplied with the weights of its parts, if it has any, and scaled
            to sum to 1. See `region_weights` and `mask_weights`.
        eps: how soft the choice of a counterpart is, > 0.

    Returns:
        A `Match` of weight 1 with `chosen` set. Its `maps_a.pooled` is the weighted mean of the chosen cells, so its
        `pooled` similarity is the one used for coarse ranking; it is not a share of the similarity.

    Raises:
        UsageError: shapes do not fit, eps <= 0, or the weights are negative or all 0.

    >>> maps = FeatureMaps(torch.eye(4).reshape(1, 4, 4), grid=(2, 2))
    >>> match = find_part(maps, maps, torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    >>> match.parts(1)[0].b, round(match.similarity.item(), 4), round(match.contributions.sum().item(), 4)
    ((0, 1), 1.0, 1.0)
    """
    chosen = chosen_parts(maps_a, weights)
    _check(chosen, maps_b, eps, images=len(maps_b))
    with torch.no_grad():
        mu = counted_parts(maps_a, weights)
        similarity = prepare(maps_a).rows[:, :-1] @ prepare(maps_b).rows[:, :-1].mT
        plan = mu[:, :, None].to(similarity) * (similarity / eps).softmax(dim=-1)
        error = (plan.sum(dim=2) - mu).abs().sum(dim=1)
    none = torch.zeros(len(plan), dtype=torch.int64, device=plan.device)
    return Match(chosen, maps_b, TransportPlan(plan, none, error.to(plan), none == 0), weight=1.0, part_weights=mu)


@torch.no_grad()
def part_similarity(
    maps_a: FeatureMaps, maps_b: FeatureMaps, weights: Float[Tensor, "1 r_a"], eps: float = EPS
) -> Float[Tensor, " n"]:
    """(n,) one-sided similarity of the chosen parts of one image with each of n images, in float32 or better.

    The similarities of `find_part` without the plans: memory does not grow with n.

    >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
    >>> part_similarity(maps[0], maps, torch.tensor([[1.0, 0.0]])).round()
    tensor([1., 0.])
    """
    _check(maps_a, maps_b, eps, images=1)
    mu = counted_parts(maps_a, weights)[0]
    some = mu > 0
    part = prepare(maps_a).rows[0, :-1][some]
    found = []
    for start in range(0, len(maps_b), CHUNK):
        similarity = part.to(maps_b.device) @ prepare(maps_b[start : start + CHUNK]).rows[:, :-1].mT.to(part.dtype)
        shares = (similarity / eps).softmax(dim=-1)
        found.append((shares * similarity).sum(dim=-1) @ mu[some].to(similarity))
    return torch.cat(found) if found else part.new_zeros(0)


def chosen_parts(maps: FeatureMaps, weights: Float[Tensor, "n r"]) -> FeatureMaps:
    """The same maps with the weighted mean of the chosen cells as pooled vector, which describes the part coarsely.

    >>> maps = FeatureMaps(torch.eye(2).reshape(1, 2, 2), grid=(1, 2))
    >>> chosen_parts(maps, torch.tensor([[0.0, 3.0]])).pooled
    tensor([[0., 1.]])
    """
    dtype = torch.promote_types(maps.dtype, torch.float32)
    pooled = weighted_mean(maps.local.to(dtype), counted_parts(maps, weights))
    return maps.replace(pooled=pooled)


def counted_parts(maps: FeatureMaps, weights: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    """(n, r): how much each part of a choice counts; each row sums to 1.

    The choice times the weights of the maps, or the choice alone where that is 0.

    >>> maps = FeatureMaps(torch.eye(4)[None], grid=(2, 2), weights=torch.tensor([[0.1, 0.3, 0.3, 0.3]]))
    >>> counted_parts(maps, torch.tensor([[1.0, 1.0, 0.0, 0.0]]))
    tensor([[0.2500, 0.7500, 0.0000, 0.0000]])
    """
    mu = given(weights.to(maps.device), len(maps), maps.parts, "a")
    if maps.weights is None:
        return mu
    both = mu * maps.weights
    total = both.sum(dim=1, keepdim=True)
    return torch.where(total > 0, both / total.clamp(min=torch.finfo(both.dtype).tiny), mu)


def _check(maps_a: FeatureMaps, maps_b: FeatureMaps, eps: float, images: int) -> None:
    if not eps > 0:
        raise UsageError(f"expected eps above 0, got {eps}")
    if len(maps_a) != images or maps_a.dim != maps_b.dim:
        raise UsageError(f"parts of {maps_a} cannot be matched with {maps_b}; expected n={images} and the same dim")
