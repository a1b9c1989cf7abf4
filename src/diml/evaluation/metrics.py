"""Retrieval metrics: pure functions of which places of a ranking hold a relevant item.

All take `relevant` (q, L), whether the item at place l, counted from the best, is relevant to the query, and return one
number per query, float64, 0..1. L is at least the number of places that the metric uses.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diml.errors import UsageError


def recall_at(relevant: Bool[Tensor, "q L"], k: int) -> Float[Tensor, " q"]:
    """Recall@k as used in metric learning: 1 if any of the best k is relevant, else 0 (Jegou et al. 2011).

    Elsewhere it is called the hit rate; it is *not* the share of the relevant items that are found.

    Raises:
        UsageError: k < 1, or fewer than k places.

    >>> recall_at(torch.tensor([[False, True, True], [False, False, True]]), k=2)
    tensor([1., 0.], dtype=torch.float64)
    """
    if k < 1:
        raise UsageError(f"expected recall@k with k >= 1, got k = {k}")
    _check_places(relevant, k)
    return relevant[:, :k].any(dim=1).double()


def r_precision(relevant: Bool[Tensor, "q L"], n_relevant: Int[Tensor, " q"]) -> Float[Tensor, " q"]:
    """Share of relevant items among the best R, `1/R sum_{l <= R} rel_l`, where R is the number of relevant items.

    NaN for a query without a relevant item.

    Args:
        relevant: (q, L), L at least the largest R.
        n_relevant: (q,) R of each query.

    Raises:
        UsageError: there are fewer places than R, or another number of queries.

    >>> relevant = torch.tensor([[True, False, True, False], [True, True, True, False]])
    >>> r_precision(relevant, torch.tensor([2, 3]))
    tensor([0.5000, 1.0000], dtype=torch.float64)
    """
    return _among_first(relevant, n_relevant).sum(dim=1) / n_relevant.double()


def map_at_r(relevant: Bool[Tensor, "q L"], n_relevant: Int[Tensor, " q"]) -> Float[Tensor, " q"]:
    """MAP@R, `1/R sum_{l <= R} rel_l P(l)`, where P(l) is the share of relevant items among the best l.

    Musgrave, Belongie, Lim: "A Metric Learning Reality Check", ECCV 2020. Unlike R-precision, it rewards rankings with
    relevant items early among the best R. NaN for a query without a relevant item.

    Args:
        relevant: (q, L), L at least the largest R.
        n_relevant: (q,) R of each query.

    Raises:
        UsageError: there are fewer places than R, or another number of queries.

    >>> relevant = torch.tensor([[True, False, True, False], [False, True, True, False]])
    >>> map_at_r(relevant, torch.tensor([2, 2]))
    tensor([0.5000, 0.2500], dtype=torch.float64)
    """
    counted = _among_first(relevant, n_relevant)
    place = torch.arange(1, relevant.shape[1] + 1, device=relevant.device, dtype=torch.float64)
    precision = counted.cumsum(dim=1) / place
    return (precision * counted).sum(dim=1) / n_relevant.double()


def _among_first(relevant: Tensor, n_relevant: Tensor) -> Tensor:
    """`relevant`, with False beyond the first R places of each query."""
    if n_relevant.shape != relevant.shape[:1]:
        raise UsageError(
            f"expected n_relevant of shape ({len(relevant)},), one for each ranking, got {tuple(n_relevant.shape)}"
        )
    _check_places(relevant, int(n_relevant.max()) if len(n_relevant) else 0)
    return relevant & (torch.arange(relevant.shape[1], device=relevant.device) < n_relevant[:, None])


def _check_places(relevant: Tensor, needed: int) -> None:
    if relevant.ndim != 2 or relevant.dtype != torch.bool:
        raise UsageError(
            f"expected relevant to be bool (queries, places), got {relevant.dtype} {tuple(relevant.shape)}"
        )
    if relevant.shape[1] < needed:
        raise UsageError(f"expected rankings of at least {needed} places, got {relevant.shape[1]}; rank more places")
