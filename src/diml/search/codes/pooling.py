"""Part pooling: the cells of an image whose vectors are alike share one, their weighted mean."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching.kernels import is_compiled

# Cells of no weight have a mean as well.
LEAST_MASS = 1e-6


def pooled_parts(
    local: Float[Tensor, "n r d"], weights: Float[Tensor, "n r"], kept: int
) -> tuple[Float[Tensor, "n k d"], Int[Tensor, "n r"]]:
    """The vectors that the cells of each image share, and which of them each cell has.

    Cells are joined in pairs, each time those that lengthen the squared error least (Ward 1963), weighted by the
    weights of the parts, until `kept` vectors are left. A vector is the weighted mean of its cells, so the weighted
    mean of the image, its pooled vector, stays what it is. Cells keep their places and their boxes.

    >>> local = torch.tensor([[[0.0], [4.0], [0.5], [4.0]]])
    >>> vectors, which = pooled_parts(local, torch.full((1, 4), 0.25), 2)
    >>> vectors[0, :, 0].tolist(), which[0].tolist()
    ([0.25, 4.0], [0, 1, 0, 1])
    """
    if is_compiled() and local.dtype == torch.float32:
        from diml.search.codes import pooling_kernel  # loads numba

        return pooling_kernel.pooled_parts(local, weights, kept)
    n, parts, _ = local.shape
    images = torch.arange(n)
    vectors = local.clone()
    mass = weights.to(local.dtype).clamp(min=LEAST_MASS)
    which = torch.arange(parts).expand(n, parts).clone()
    closed = torch.eye(parts, dtype=torch.bool).expand(n, parts, parts).clone()
    for _ in range(parts - kept):
        squares = vectors.square().sum(dim=2)
        apart = squares[:, :, None] + squares[:, None] - 2 * vectors @ vectors.mT
        cost = apart * (mass[:, :, None] * mass[:, None] / (mass[:, :, None] + mass[:, None]))
        pair = cost.masked_fill(closed, torch.inf).flatten(1).argmin(dim=1)
        ends = torch.stack([pair // parts, pair % parts])
        first, second = ends.amin(dim=0), ends.amax(dim=0)
        one, two = mass[images, first][:, None], mass[images, second][:, None]
        vectors[images, first] = (one * vectors[images, first] + two * vectors[images, second]) / (one + two)
        mass[images, first] = (one + two)[:, 0]
        closed[images, second], closed[images, :, second] = True, True
        which = torch.where(which == second[:, None], first[:, None], which)
    return _numbered(vectors, which, kept)


def _numbered(vectors: Tensor, which: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Vectors that are left, in the order of their first cells."""
    n, parts, dim = vectors.shape
    first = which == torch.arange(parts)
    order = first.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :kept]
    number = first.cumsum(dim=1) - 1
    return vectors.gather(1, order[:, :, None].expand(n, kept, dim)), number.gather(1, which)
