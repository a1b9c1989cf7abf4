"""The joint batch of all processes, with the gradients that a single process would have.

Every process computes the same loss of the joint batch. The backward pass sums the gradients of all W processes for
each share, which makes them W times too large. DDP then averages the parameters' gradients over the processes: that
removes the factor W for the network, and does not change the gradients of the loss's own parameters, which are equal in
all processes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor

from diml.feature_maps import FeatureMaps

Value = TypeVar("Value")


def processes() -> int:
    """The number of processes that train together; 1 outside a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(maps: FeatureMaps, labels: Int[Tensor, " n"]) -> tuple[FeatureMaps, Int[Tensor, " joint"]]:
    """The maps and labels of all processes in rank order, differentiable by the maps of this process.

    Args:
        maps: maps of n images, with the same n in every process; the result has no geometry.
        labels: (n,) classes of the images.

    >>> maps = FeatureMaps(torch.ones(2, 4, 3), (2, 2))
    >>> gather(maps, torch.tensor([0, 1]))[0] is maps  # one process: nothing to gather
    True
    """
    if processes() == 1:
        return maps, labels
    pooled, weights = (None if each is None else _joined(each) for each in (maps.own_pooled, maps.weights))
    return FeatureMaps(_joined(maps.local), maps.grid, pooled, weights=weights), _all(labels)


def gather_objects(value: Value) -> list[Value]:
    """The values of all processes in rank order; every process has to call it.

    >>> gather_objects({"a": 1})
    [{'a': 1}]
    """
    if processes() == 1:
        return [value]
    found: list[Any] = [None] * processes()
    dist.all_gather_object(found, value)
    return found


def _joined(share: Tensor) -> Tensor:
    return _AllGather.apply(share)  # type: ignore[no-any-return]


def _all(share: Tensor) -> Tensor:
    shares = [torch.empty_like(share) for _ in range(processes())]
    dist.all_gather(shares, share.contiguous())
    return torch.cat(shares)


class _AllGather(torch.autograd.Function):
    """Concatenate over the ranks; the backward pass sums the gradients of all ranks and returns each rank its rows."""

    @staticmethod
    def forward(ctx: Any, share: Tensor) -> Tensor:
        ctx.rows = len(share)
        return _all(share)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        first = dist.get_rank() * ctx.rows
        return total[first : first + ctx.rows]
