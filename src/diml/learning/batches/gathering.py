"""From the share of a batch that each process has to the joint batch, with the gradient that one process would have.

Every process computes the same loss of the whole joint batch. The backward pass sums what the processes ask of each
share, so a share's gradient is W times too large with W processes; DDP then averages the gradients of the parameters
over the processes, which takes the W out again for the network, and leaves those of the loss's own parameters, which
are the same everywhere, as they are.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor

from diml.feature_maps import FeatureMaps


def processes() -> int:
    """How many processes train together; 1 outside of a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather(maps: FeatureMaps, labels: Int[Tensor, " n"]) -> tuple[FeatureMaps, Int[Tensor, " joint"]]:
    """The maps and labels of all processes, in the order of their ranks; differentiable with respect to the own maps.

    Args:
        maps: of n images, the same n in every process; without geometry afterwards.
        labels: (n,) their classes.

    >>> maps = FeatureMaps(torch.ones(2, 4, 3), (2, 2))
    >>> gather(maps, torch.tensor([0, 1]))[0] is maps  # one process: nothing to gather
    True
    """
    if processes() == 1:
        return maps, labels
    pooled = None if maps.own_pooled is None else _joined(maps.own_pooled)
    return FeatureMaps(_joined(maps.local), maps.grid, pooled), _all(labels)


def _joined(share: Tensor) -> Tensor:
    return _AllGather.apply(share)  # type: ignore[no-any-return]


def _all(share: Tensor) -> Tensor:
    shares = [torch.empty_like(share) for _ in range(processes())]
    dist.all_gather(shares, share.contiguous())
    return torch.cat(shares)


class _AllGather(torch.autograd.Function):
    """Concatenation over the ranks; its adjoint sums the gradients of all ranks and gives each its own rows."""

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
