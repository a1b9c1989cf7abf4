"""Orders of scores: largest first, equal ones by index, so that runs repeat."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def best(scores: Float[Tensor, "q n"], places: int) -> Int[Tensor, "q places"]:
    """Indices of the largest scores of each row, largest first, equal ones by index, smallest first.

    >>> best(torch.tensor([[0.5, 0.9, 0.5, 0.5]]), 3)
    tensor([[1, 0, 2]])
    """
    if places >= scores.shape[1]:
        return _sorted(scores)
    top = scores.topk(places + 1, dim=1)
    index = top.indices[:, :places]
    index = reorder(index, scores.gather(1, index))
    # Which of several equal scores `topk` keeps at the boundary is undefined, so these rows are sorted completely.
    tied = top.values[:, -1] == top.values[:, -2]
    if tied.any():
        index[tied] = _sorted(scores[tied])[:, :places]
    return index


def reorder(order: Int[Tensor, "q L"], scores: Float[Tensor, "q k"]) -> Int[Tensor, "q L"]:
    """Sort the first k of each ranking by their scores, largest first, equal ones by index; keep the rest.

    >>> reorder(torch.tensor([[7, 3, 5, 1]]), torch.tensor([[0.1, 0.8, 0.8]]))
    tensor([[3, 5, 7, 1]])
    """
    k = scores.shape[1]
    by_index = order[:, :k].sort(dim=1)
    anew = by_index.values.gather(1, _sorted(scores.gather(1, by_index.indices)))
    return torch.cat([anew, order[:, k:]], dim=1)


def _sorted(scores: Tensor) -> Tensor:
    return scores.sort(dim=1, descending=True, stable=True).indices
