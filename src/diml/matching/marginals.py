"""Marginals: how much mass each part of an image brings to the matching.

A scheme is a function from the correlation of each part with the *other* image's pooled vector, (..., r), to weights
(..., r) that are >= 0 and sum to 1 over the parts. A new scheme is one such function; weights that do not come from
the correlation are given to the matcher as tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError

Marginal = Callable[[Float[Tensor, "... r"]], Float[Tensor, "... r"]]


def uniform(correlation: Float[Tensor, "... r"]) -> Float[Tensor, "... r"]:
    """Every part weighs the same, `mu_i = 1 / r`.

    >>> import torch
    >>> uniform(torch.tensor([0.9, -0.1]))
    tensor([0.5000, 0.5000])
    """
    return torch.full_like(correlation, 1 / correlation.shape[-1])


def cross_correlation(correlation: Float[Tensor, "... r"]) -> Float[Tensor, "... r"]:
    """Parts weigh by how well they fit the other image, `mu_i ~ relu(hat(a_i) . hat(pooled_b))` (Zhao et al. 2021).

    Where no correlation is positive there is nothing to weigh by, and the weights are uniform.

    >>> import torch
    >>> cross_correlation(torch.tensor([[0.6, 0.2, -0.5], [-0.1, -0.2, -0.3]]))
    tensor([[0.7500, 0.2500, 0.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    positive = correlation.clamp(min=0)
    mass = positive.sum(dim=-1, keepdim=True)
    # Below the smallest normal number a quotient is noise, so such a mass counts as none.
    some = mass > torch.finfo(mass.dtype).tiny * 1e6
    return torch.where(some, positive / mass.where(some, torch.ones_like(mass)), uniform(correlation))


MARGINALS: Mapping[str, Marginal] = {"uniform": uniform, "cross_correlation": cross_correlation}


def check_given(marginals: object) -> None:
    """Refuse what is no pair of tensors."""
    if not isinstance(marginals, tuple) or len(marginals) != 2 or not all(isinstance(mu, Tensor) for mu in marginals):
        raise UsageError("marginals came that are no pair of tensors; expected (n_a, r_a) and (n_b, r_b) in a tuple")


def given(weights: Float[Tensor, "n r"], images: int, parts: int, side: str) -> Float[Tensor, "n r"]:
    """Check a caller's weights for one side, (n, r), and scale each row to sum to 1.

    Raises:
        UsageError: a wrong shape, a negative or non-finite weight, or an image without any mass.
    """
    if weights.shape != (images, parts):
        raise UsageError(f"marginals of side {side} came with shape {tuple(weights.shape)}; expected {(images, parts)}")
    if not torch.isfinite(weights).all() or (weights < 0).any():
        raise UsageError(f"marginals of side {side} hold negative or non-finite weights; expected numbers >= 0")
    mass = weights.sum(dim=-1, keepdim=True)
    if (mass <= 0).any():
        raise UsageError(f"marginals of side {side} hold an image without mass; give every image a positive weight")
    return weights / mass
