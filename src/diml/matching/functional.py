"""Matching in one call, for those who need no `Matcher` at hand: the paper's settings by default."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.matching.marginals import Marginal
from diml.matching.matcher import Matcher
from diml.matching.unit_maps import UnitMaps

Maps = FeatureMaps | UnitMaps


def rerank(
    query_maps: Maps,
    gallery_maps: Maps,
    shortlist: Int[Tensor, "q k"],
    *,
    marginals: str | Marginal | tuple[Tensor, Tensor] = "cross_correlation",
    weight: float = 0.5,
    eps: float = 0.05,
    tolerance: float = 1e-3,
) -> Float[Tensor, "q k"]:
    """Similarity of every query with the gallery images on its shortlist, in the shortlist's order.

    From maps as they are stored, float16 or float32, to the numbers; the fastest kernel that fits is chosen by itself
    (see `diml.matching.kernels.choose_backend`). Memory beyond maps and scores does not grow with the number of pairs.

    Args:
        query_maps: of q images.
        gallery_maps: of n images.
        shortlist: (q, K) indices into the gallery; negative ones count from its end, so cut what is padded with -1.
        marginals, weight, eps, tolerance: see `Matcher`.

    Raises:
        UsageError: shapes that do not fit, or a setting out of its range.

    >>> import torch
    >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
    >>> rerank(maps, maps, torch.tensor([[0, 1], [1, 0]])).round().abs()
    tensor([[1., 0.],
            [1., 0.]])
    """
    return Matcher(marginals, weight, eps, tolerance).rerank(query_maps, gallery_maps, shortlist)


def similarity(
    maps_a: Maps,
    maps_b: Maps,
    *,
    marginals: str | Marginal | tuple[Tensor, Tensor] = "cross_correlation",
    weight: float = 0.5,
    eps: float = 0.05,
    tolerance: float = 1e-3,
) -> Float[Tensor, "n m"]:
    """(n, m) similarity of all pairs; a set with itself is solved once per unordered pair. See `rerank`.

    >>> import torch
    >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
    >>> similarity(maps, maps).round().abs()
    tensor([[1., 0.],
            [0., 1.]])
    """
    return Matcher(marginals, weight, eps, tolerance).similarity(maps_a, maps_b)
