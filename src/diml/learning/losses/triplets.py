"""Mining of triplets: index lists of anchors, positives and negatives, drawn with torch's random numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from pytorch_metric_learning import miners
from pytorch_metric_learning.utils import loss_and_miner_utils
from torch import Tensor

# Selects the triplets that a loss sees, from its embeddings, the pooled vectors and the labels.
Tuples = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]
Triplets = tuple[Int[Tensor, " t"], Int[Tensor, " t"], Int[Tensor, " t"]]


@torch.no_grad()
def distance_weighted(
    pooled: Float[Tensor, "n d"], labels: Int[Tensor, " n"], cutoff: float = 0.5, nonzero_loss_cutoff: float = 1.4
) -> Triplets:
    """One triplet per anchor, with negatives drawn uniformly over distances (Wu et al. 2017, section 4).

    A negative is drawn with a weight of `1 / q(distance)`, where q is the density of distances between random points on
    the unit sphere in d dimensions. The pooled vectors are used rather than the flattened maps: in r * d dimensions all
    distances are nearly equal.

    Args:
        pooled: pooled vectors; they are normalised here.
        labels: classes.
        cutoff: smaller distances are raised to this value.
        nonzero_loss_cutoff: negatives beyond it are not drawn; an anchor with no other negatives has no triplet.
    """
    anchors, positives, negatives = miners.DistanceWeightedMiner(cutoff, nonzero_loss_cutoff)(pooled.float(), labels)
    # The miner draws several triplets per anchor, one for each positive; the first is as random as any.
    first = _first_of_each(anchors)
    return anchors[first], positives[first], negatives[first]


def random_triplets(labels: Int[Tensor, " n"]) -> Triplets:
    """One triplet per anchor, drawn uniformly."""
    found: Triplets = loss_and_miner_utils.get_random_triplet_indices(labels, t_per_anchor=1)
    return found


@torch.no_grad()
def softhard(distance: Float[Tensor, "n n"], labels: Int[Tensor, " n"]) -> Triplets:
    """One triplet per anchor, drawn among the hard ones (Roth et al. 2020).

    A positive is drawn among those farther than the nearest negative, a negative among those nearer than the farthest
    positive; if there are none, among all.

    >>> import torch
    >>> distance = torch.tensor([[0.0, 0.5, 0.4], [0.5, 0.0, 0.8], [0.4, 0.8, 0.0]])
    >>> softhard(distance, torch.tensor([0, 0, 1]))
    (tensor([0, 1]), tensor([1, 0]), tensor([2, 2]))
    """
    positive, negative = _masks(labels)
    nearest = distance.masked_fill(~negative, torch.inf).amin(dim=1, keepdim=True)
    farthest = distance.masked_fill(~positive, -torch.inf).amax(dim=1, keepdim=True)
    anchors = (positive.any(dim=1) & negative.any(dim=1)).nonzero()[:, 0]
    return (
        anchors,
        _drawn(positive & (distance > nearest), positive)[anchors],
        _drawn(negative & (distance < farthest), negative)[anchors],
    )


@torch.no_grad()
def another_negative(labels: Int[Tensor, " n"], anchors: Tensor, negatives: Tensor) -> Int[Tensor, " t"]:
    """For each triplet an image of a third class, drawn uniformly; -1 if there is none."""
    third = (labels[anchors, None] != labels) & (labels[negatives, None] != labels)
    return torch.where(third.any(dim=1), _drawn(third, torch.ones_like(third)), -1)


def _masks(labels: Tensor) -> tuple[Bool[Tensor, "n n"], Bool[Tensor, "n n"]]:
    same = labels[:, None] == labels
    return same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device), ~same


def _drawn(among: Tensor, otherwise: Tensor) -> Int[Tensor, " n"]:
    """A random marked column of each row; if none is marked in `among`, one in `otherwise`, or else any column."""
    chosen = torch.where(among.any(dim=1, keepdim=True), among, otherwise).float()
    chosen[~chosen.any(dim=1)] = 1
    return torch.multinomial(chosen, 1)[:, 0]


def _first_of_each(values: Tensor) -> Int[Tensor, " k"]:
    """The index of the first occurrence of each value.

    >>> import torch
    >>> _first_of_each(torch.tensor([4, 4, 1, 4, 1, 2]))
    tensor([2, 5, 0])
    """
    ordered, at = values.sort(stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return at[new]
