"""One-sided transport: all of a is matched, and the parts of b are used as they are needed."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diml.matching.defaults import EPS, MAX_ITERATIONS, TOLERANCE
from diml.matching.transport import TransportPlan, check_problem


@torch.no_grad()
def one_sided_plan(
    local_similarity: Float[Tensor, "*n r_a r_b"],
    mu_a: Float[Tensor, "*n r_a"],
    mu_b: Float[Tensor, "*n r_b"],
    eps: float = EPS,
) -> TransportPlan:
    """Each part of a goes to the parts of b that it resembles: `T_ij = mu_a_i softmax_j(S_ij / eps + log mu_b_j)`.

    This plan minimises `sum T_ij (1 - S_ij) + eps KL(T | mu_a mu_b^T)` under the constraint on the rows alone, so b's
    weights are a prior and no bound: a part of b may receive more than its weight, or nothing. It asks whether a is in
    b, and is not symmetric. There is nothing to iterate: the number of iterations is 1 and every pair converges.

    Args:
        local_similarity, mu_a, mu_b, eps: as in `transport_plan`.

    Returns:
        Plans that sum to 1, with row sums `mu_a`.

    Raises:
        UsageError: as in `transport_plan`.

    >>> one_sided_plan(torch.tensor([[1.0, 0.0]]), torch.tensor([1.0]), torch.tensor([0.5, 0.5])).plan.round(decimals=3)
    tensor([[1., 0.]])
    """
    check_problem(local_similarity, mu_a, mu_b, eps, TOLERANCE, MAX_ITERATIONS, None)
    dtype = torch.promote_types(local_similarity.dtype, torch.float32)
    similarity, rows, columns = (x.to(dtype) for x in (local_similarity, mu_a, mu_b))
    plan = rows[..., None] * (similarity / eps + columns.log()[..., None, :]).softmax(dim=-1)
    error = (plan.sum(dim=-1) - rows).abs().sum(dim=-1)
    done = torch.ones(error.shape, dtype=torch.int64, device=plan.device)
    return TransportPlan(plan, done, error, done > 0)
