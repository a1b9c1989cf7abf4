"""How concentrated a plan is: whether each part goes to one part or is spread over many."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor


def concentration(plan: Float[Tensor, "n r_a r_b"]) -> Float[Tensor, " n"]:
    """`1 - H(b | a) / log r_b`: 1 if every part of a goes to a single part of b, 0 if each goes evenly to all.

    `H(b | a) = -sum_ij T_ij log(T_ij / sum_k T_ik)` is the entropy of the counterpart given the part, so
    `exp(H(b | a))` is the number of parts of b that a part of a goes to, as a geometric mean. The value depends on
    `eps`, which blurs every plan, and on the number of parts: only compare hits of the same search. It is not a
    probability that the match is right: a plan can be concentrated and wrong, and is spread if an image repeats itself.

    Args:
        plan: (n, r_a, r_b), >= 0, with positive mass for each pair; need not sum to 1.

    Returns:
        (n,), 0..1; 1 if b has only one part.

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
