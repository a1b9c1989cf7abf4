"""Marginals: how much mass each part of an image has in the matching.

A scheme is a function from the correlation of each part with the *other* image's pooled vector, (..., r), to weights
(..., r) that are >= 0 and sum to 1 over the parts. To add one, write such a function and enter it in `MARGINALS`: it is
then known by its name everywhere, on the command line and in training settings too. Schemes that look at all pairs of
parts are in `OF_PARTS`. Weights that do not follow from either are passed to the matcher as tensors.

Part weights of the images (`FeatureMaps.weights`) multiply what a scheme gives, see `times_part_weights`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError

# Less mass than this counts as none: 1e6 times the smallest normal number of float32.
NO_MASS = 1.1754944e-32

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
    some = mass > NO_MASS
    return torch.where(some, positive / mass.where(some, torch.ones_like(mass)), uniform(correlation))


def average_pooling_correlation(similarity: Float[Tensor, "... r_a r_b"]) -> Float[Tensor, "... r_a"]:
    """`mu_i ~ relu(mean_j S_ij)`: parts by their mean similarity with the other image's parts ("apc", DeepFace-EMD).

    Phan and Nguyen, "DeepFace-EMD", CVPR 2022. Uniform where no mean is positive.

    >>> import torch
    >>> average_pooling_correlation(torch.tensor([[1.0, 0.5], [0.25, 0.25]]))
    tensor([0.7500, 0.2500])
    """
    return cross_correlation(similarity.mean(dim=-1))


def spatial_cost(similarity: Float[Tensor, "... r_a r_b"]) -> Float[Tensor, "... r_a"]:
    """`mu_i ~ sum_j (1 - S_ij)`: parts by their cost to all parts of the other image ("sc" of DeepFace-EMD's code).

    It weighs most what differs most, such as the eyes of faces with and without sunglasses. Uniform where all is alike.

    >>> import torch
    >>> spatial_cost(torch.tensor([[1.0, 0.5], [0.5, 0.0]]))
    tensor([0.2500, 0.7500])
    """
    return cross_correlation((1 - similarity).sum(dim=-1))


# All schemes by name. Backends have some of them compiled in; the reference computes the others.
MARGINALS: dict[str, Marginal] = {"uniform": uniform, "cross_correlation": cross_correlation}
# Schemes from the local similarities (..., r_a, r_b) to the weights of a, (..., r_a); b's are those of the transpose.
OF_PARTS: dict[str, Marginal] = {"apc": average_pooling_correlation, "sc": spatial_cost}


def marginals_of(
    scheme: str | Marginal, product: Float[Tensor, "n rows_a rows_b"]
) -> tuple[Float[Tensor, "n r_a"], Float[Tensor, "n r_b"]]:
    """The marginals of n pairs by a scheme, from the products of their unit rows, the pooled ones last."""
    if isinstance(scheme, str) and scheme in OF_PARTS:
        similarity = product[:, :-1, :-1]
        return OF_PARTS[scheme](similarity), OF_PARTS[scheme](similarity.mT)
    weigh = MARGINALS[scheme] if isinstance(scheme, str) else scheme
    return weigh(product[:, :-1, -1]), weigh(product[:, -1, :-1])


def times_part_weights(mu: Float[Tensor, "n r"], weights: Float[Tensor, "n r"]) -> Float[Tensor, "n r"]:
    """`alpha_i mu_i`, scaled to sum to 1; the part weights alone where the products are all 0.

    >>> import torch
    >>> times_part_weights(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), torch.tensor([[0.8, 0.2], [0.0, 1.0]]))
    tensor([[0.8000, 0.2000],
            [0.0000, 1.0000]])
    """
    weights = weights.to(mu.dtype)
    product = mu * weights
    mass = product.sum(dim=-1, keepdim=True)
    some = mass > NO_MASS
    return torch.where(some, product / mass.where(some, torch.ones_like(mass)), weights)


def check_scheme(name: str) -> None:
    """Check the name of a scheme.

    Raises:
        UsageError: it is not in `MARGINALS` or `OF_PARTS`.
    """
    if name not in (names := [*MARGINALS, *OF_PARTS]):
        raise UsageError(f"expected marginals to be one of {', '.join(names)}, got {name!r}")


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
