"""Marginals: how much mass each part of an image has in the matching.

A scheme is a function from the correlation of each part with the *other* image's pooled vector, (..., r), to weights
(..., r) that are >= 0 and sum to 1 over the parts. To add one, write such a function and enter it in `MARGINALS`: it is
then known by its name everywhere, on the command line and in training settings too. Weights that do not follow from the
correlation are passed to the matcher as tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError

Marginal = Callable[[Float[Tensor, "... r"]], Float[Tensor, "... r"]]


def uniform(correlation: Float[Tensor, "... r"]) -> Float[Tensor, "... r"]:
    """All parts have the same weight, `mu_i = 1 / r`.

    >>> import torch
    >>> uniform(torch.tensor([0.9, -0.1]))
    tensor([0.5000, 0.5000])
    """
    return torch.full_like(correlation, 1 / correlation.shape[-1])


def cross_correlation(correlation: Float[Tensor, "... r"]) -> Float[Tensor, "... r"]:
    """Parts are weighted by their fit to the other image, `mu_i ~ relu(hat(a_i) . hat(pooled_b))` (Zhao et al. 2021).

    Uniform where no correlation is positive.

    >>> import torch
    >>> cross_correlation(torch.tensor([[0.6, 0.2, -0.5], [-0.1, -0.2, -0.3]]))
    tensor([[0.7500, 0.2500, 0.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    positive = correlation.clamp(min=0)
    mass = positive.sum(dim=-1, keepdim=True)
    # Below the smallest normal number a quotient is noise, so such a mass counts as zero.
    some = mass > torch.finfo(mass.dtype).tiny * 1e6
    return torch.where(some, positive / mass.where(some, torch.ones_like(mass)), uniform(correlation))


# All schemes by name. Backends have some of them compiled in; the reference computes the others.
MARGINALS: dict[str, Marginal] = {"uniform": uniform, "cross_correlation": cross_correlation}


def check_scheme(name: str) -> None:
    """Check the name of a scheme.

    Raises:
        UsageError: it is not in `MARGINALS`.
    """
    if name not in MARGINALS:
        raise UsageError(f"expected marginals to be one of {', '.join(MARGINALS)}, got {name!r}")


def check_given(marginals: object) -> None:
    """Check that weights are a pair of tensors.

    Raises:
        UsageError: they are not.
    """
    if not isinstance(marginals, tuple) or len(marginals) != 2 or not all(isinstance(mu, Tensor) for mu in marginals):
        raise UsageError(
            "expected marginals to be a name, a function, or a tuple of two tensors (n_a, r_a) and (n_b, r_b), "
            f"got {_described(marginals)}"
        )


def given(weights: Float[Tensor, "n r"], images: int, parts: int, side: str) -> Float[Tensor, "n r"]:
    """Check the caller's weights for one side, (n, r), and scale each row to sum to 1.

    Raises:
        UsageError: a wrong shape, a negative or non-finite weight, or an image without any mass.
    """
    if weights.shape != (images, parts):
        raise UsageError(f"expected marginals of shape {(images, parts)} for side {side}, got {tuple(weights.shape)}")
    if not torch.isfinite(weights).all() or (weights < 0).any():
        raise UsageError(f"expected marginals >= 0 for side {side}, got negative or non-finite weights")
    mass = weights.sum(dim=-1, keepdim=True)
    if (mass <= 0).any():
        raise UsageError(
            f"expected a positive weight for every image, got marginals of side {side} with an image whose weights "
            "are all 0"
        )
    return weights / mass


def _described(value: object) -> str:
    return f"a {type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else repr(value)
