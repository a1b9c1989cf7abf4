"""How sure a plan is of which part goes with which."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def concentration(plan: Float[Tensor, "n r_a r_b"]) -> Float[Tensor, " n"]:
    """`1 - H(b | a) / log r_b`: 1 where every part of a goes to a single part of b, 0 where each goes evenly to all.

    `H(b | a) = -sum_ij T_ij log(T_ij / sum_k T_ik)` is the entropy that is left of the counterpart once the part is
    known, so `exp(H(b | a))` is to how many parts of b a part of a goes, on a geometric average. It depends on `eps`,
    which blurs every plan, and on the number of parts: compare hits of one search with each other. It is no probability
    that the match is right: a plan can be concentrated and wrong, and is spread where an image repeats itself.

    Args:
        plan: (n, r_a, r_b), >= 0, each with some mass; need not sum to 1.

    Returns:
        (n,), 0..1; 1 where b has one part only.

    >>> import torch
    >>> concentration(torch.stack([torch.eye(4) / 4, torch.full((4, 4), 1 / 16)]))
    tensor([1., 0.])
    """
    if plan.shape[2] == 1:
        return plan.new_ones(len(plan))
    mass = plan / plan.sum(dim=(1, 2), keepdim=True)
    entropy = torch.special.entr(mass).sum(dim=(1, 2)) - torch.special.entr(mass.sum(dim=2)).sum(dim=1)
    sure: Tensor = (1 - entropy / math.log(plan.shape[2])).clamp(0, 1)
    return sure
