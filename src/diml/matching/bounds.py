"""Upper bounds of the structural similarity from what is known of the local similarities, without a plan."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from diml.matching.settings import MatchSettings


def structural_bounds(
    settings: MatchSettings,
    likeness: Float[Tensor, "n r_a r_b"],
    alpha: Float[Tensor, "1 r_a"],
    beta: Float[Tensor, "n r_b"],
) -> Float[Tensor, " n"]:
    """(n,): at least the structural similarity of one image with each of n, whatever the plan.

    The bounds of `diml.matching.top_k` hold for anything that the local similarities do not exceed. With marginals that
    follow from the images, or only a part of the mass, it is the largest of them, as a plan gives a mean of them.

    Args:
        settings: of the matching.
        likeness: upper bounds of the local similarities `S_ij`.
        alpha, beta: weights of the parts, each row summing to 1.

    >>> import torch
    >>> from diml.matching import Matcher
    >>> likeness = torch.tensor([[[1.0, 0.0], [0.5, 0.25]]])
    >>> half = torch.full((1, 2), 0.5)
    >>> [structural_bounds(Matcher(transport=name), likeness, half, half).item() for name in ("full", "one-sided")]
    [0.625, 0.75]
    """
    if settings.marginals != "uniform" or settings.mass < 1:
        best = likeness.amax(dim=(1, 2))
        return best.clamp(min=settings.bin_similarity) if settings.transport == "dustbin" else best
    if settings.transport == "one-sided":
        return (alpha * likeness.amax(dim=2)).sum(dim=1)
    columns = likeness.amax(dim=1)
    if settings.transport == "dustbin":
        columns = columns.clamp(min=settings.bin_similarity)
    return (beta * columns).sum(dim=1)
