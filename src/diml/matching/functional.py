"""Matching in one call, without a `Matcher`: functions with the matcher's default settings."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.matching.defaults import EPS, SCHEME, TOLERANCE, WEIGHT
from diml.matching.marginals import Marginal
from diml.matching.matcher import Matcher
from diml.matching.unit_maps import UnitMaps

Maps = FeatureMaps | UnitMaps


def rerank(
    query_maps: Maps,
    gallery_maps: Maps,
    shortlist: Int[Tensor, "q k"],
    *,
    marginals: str | Marginal | tuple[Tensor, Tensor] = SCHEME,
    weight: float = WEIGHT,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
) -> Float[Tensor, "q k"]:
    """Similarity of every query with the gallery images on its shortlist, in the shortlist's order.

    Takes maps as they are stored, float16 or float32, and uses the fastest kernel available (see
    `diml.matching.kernels.choose_backend`). Memory beyond maps and scores does not grow with the number of pairs.

    Args:
        query_maps: of q images.
        gallery_maps: of n images.
        shortlist: (q, K) indices into the gallery; negative ones count from its end, so remove padding with -1 first.
        marginals, weight, eps, tolerance: see `Matcher`, which has the same defaults.

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
    marginals: str | Marginal | tuple[Tensor, Tensor] = SCHEME,
    weight: float = WEIGHT,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
) -> Float[Tensor, "n m"]:
    """(n, m) similarity of all pairs; of a set with itself each unordered pair is solved once. See `rerank`.

    >>> import torch
    >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
    >>> similarity(maps, maps).round().abs()
    tensor([[1., 0.],
            [0., 1.]])
    """
    return Matcher(marginals, weight, eps, tolerance).similarity(maps_a, maps_b)
