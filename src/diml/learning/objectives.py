"""Objectives: from the feature maps of a batch and their classes to a loss. Here the two of the paper.

An objective is an `nn.Module`: what it learns itself, such as the margins of classes or proxies, are its parameters.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning.comparison import Comparison
from diml.learning.formula import DISTANCE
from diml.learning.mining import Triplets, distance_weighted
from diml.matching import Matcher, prepare

# The paper's matching in training: cross-correlation marginals, and half of the similarity from matched parts.
PAPER = Matcher("cross_correlation")


class Objective(nn.Module):
    """What training minimises: `objective(maps, labels)` is the loss of a batch, a scalar of float32 or better."""

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        raise NotImplementedError

    def describe(self) -> str:
        """One line for the record of a run: the loss, its numbers, and what it compares."""
        raise NotImplementedError


def positive_number(**numbers: float) -> None:
    """Refuse numbers that are not above 0, by name.

    >>> positive_number(margin=0.2)
    """
    for name, number in numbers.items():
        if not number > 0:
            raise UsageError(f"{name} {number} came; expected a number above 0")


class Margin(Objective):
    """The margin loss on matched parts (Wu et al. 2017; Zhao et al. 2021, there for the structural distance).

    `sum over triplets of relu(m + d_ap - beta_y) + relu(m - d_an + beta_y)`, divided by how many of these terms are not
    zero; y is the class of the anchor and beta_y is learned. Triplets come from distance-weighted mining on the pooled
    vectors, one per anchor, and only their pairs are matched. A batch without triplets gives 0.

    Args:
        classes: how many, for the betas.
        matcher: settings of the distance `(1 - w) sqrt(2 - 2 p + 1e-6) + w sum_ij T_ij sqrt(2 - 2 S_ij + 1e-6)`; with
            weight 0 it is that of the pooled vectors.
        margin: m, in units of the distance, 0..2.
        beta: where the betas start.
        cutoff, nonzero_loss_cutoff: of the mining, see `distance_weighted`.

    Raises:
        UsageError: a number out of its range.

    >>> import torch
    >>> maps = FeatureMaps(torch.randn(8, 4, 16, requires_grad=True), grid=(2, 2))
    >>> objective = Margin(classes=4)
    >>> objective(maps, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])).backward()
    >>> objective.beta.shape, objective.beta.grad is not None
    (torch.Size([4]), True)
    """

    def __init__(
        self,
        classes: int,
        matcher: Matcher = PAPER,
        margin: float = 0.2,
        beta: float = 1.2,
        cutoff: float = 0.5,
        nonzero_loss_cutoff: float = 1.4,
    ) -> None:
        super().__init__()
        positive_number(classes=classes, margin=margin, cutoff=cutoff)
        if not cutoff < nonzero_loss_cutoff <= 2:
            raise UsageError(
                f"cutoffs {cutoff} and {nonzero_loss_cutoff} came; expected the first below the second, 2 at most"
            )
        self.comparison = Comparison(matcher, DISTANCE)
        self.margin, self.cutoff, self.nonzero_loss_cutoff = margin, cutoff, nonzero_loss_cutoff
        self.beta = nn.Parameter(torch.full((classes,), float(beta)))

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        rows = prepare(maps)
        anchors, positives, negatives = self.triplets(rows.rows[:, -1].detach(), labels)
        i, j = torch.cat([anchors, anchors]), torch.cat([positives, negatives])
        to_positive, to_negative = self.comparison.pairs(rows, rows, i, j).chunk(2)
        return margin_loss(to_positive, to_negative, self.beta[labels[anchors]], self.margin)

    def triplets(self, pooled: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Triplets:
        """The triplets of a batch, drawn anew at every call."""
        return distance_weighted(pooled, labels, self.cutoff, self.nonzero_loss_cutoff)

    def describe(self) -> str:
        return (
            f"margin (margin {self.margin:g}, a beta for each of {len(self.beta)} classes, distance-weighted triplets "
            f"within {self.cutoff:g}..{self.nonzero_loss_cutoff:g}) on the {self.comparison.what}"
        )


def margin_loss(
    to_positive: Float[Tensor, " t"], to_negative: Float[Tensor, " t"], beta: Float[Tensor, " t"], margin: float
) -> Float[Tensor, ""]:
    """`relu(m + d_ap - beta) + relu(m - d_an + beta)` summed over triplets, by the number of terms above 0.

    >>> import torch
    >>> margin_loss(torch.tensor([1.5]), torch.tensor([1.25]), torch.tensor([1.25]), 0.25)
    tensor(0.3750)
    """
    terms = torch.cat([(margin + to_positive - beta).relu(), (margin - to_negative + beta).relu()])
    return terms.sum() / (terms > 0).sum().clamp(min=1)


class MultiSimilarity(Objective):
    """The multi-similarity loss on matched parts (Wang et al. 2019; Zhao et al. 2021, there for the structural one).

    For every anchor `log(1 + sum_P exp(-a (s - t))) / a + log(1 + sum_N exp(b (s - t))) / b`, averaged over the batch,
    of the similarities s with its hard positives P and negatives N: a positive counts if it is less similar than the
    most similar negative plus the margin, a negative if it is more similar than the least similar positive minus it.

    Args:
        matcher: settings of the similarity `(1 - w) p + w sum_ij T_ij S_ij`; with weight 0 it is the pooled one.
        positive_weight: a.
        negative_weight: b.
        margin: of the mining, in units of the similarity.
        threshold: t.

    Raises:
        UsageError: a weight that is not above 0.

    >>> import torch
    >>> maps = FeatureMaps(torch.randn(8, 4, 16, requires_grad=True), grid=(2, 2))
    >>> loss = MultiSimilarity()(maps, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
    >>> loss.backward()
    >>> loss.item() > 0, maps.local.grad.shape
    (True, torch.Size([8, 4, 16]))
    """

    def __init__(
        self,
        matcher: Matcher = PAPER,
        positive_weight: float = 2.0,
        negative_weight: float = 40.0,
        margin: float = 0.1,
        threshold: float = 0.5,
    ) -> None:
        super().__init__()
        positive_number(positive_weight=positive_weight, negative_weight=negative_weight)
        self.comparison = Comparison(matcher)
        self.positive_weight, self.negative_weight = positive_weight, negative_weight
        self.margin, self.threshold = margin, threshold

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        similarity = self.comparison.matrix(maps)
        positive, negative = self.hard(similarity.detach(), labels)
        apart = similarity - self.threshold
        near = _soft_sum(-self.positive_weight * apart, positive) / self.positive_weight
        far = _soft_sum(self.negative_weight * apart, negative) / self.negative_weight
        return (near + far).mean()

    def hard(self, similarity: Float[Tensor, "n n"], labels: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """(n, n) which pairs count as positive, which as negative, for the anchors in rows."""
        same = labels[:, None] == labels
        other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        least = similarity.masked_fill(~(same & other), torch.inf).amin(dim=1, keepdim=True)
        most = similarity.masked_fill(same, -torch.inf).amax(dim=1, keepdim=True)
        return same & other & (similarity - self.margin < most), ~same & (similarity + self.margin > least)

    def describe(self) -> str:
        return (
            f"multisimilarity (weights {self.positive_weight:g} and {self.negative_weight:g}, margin {self.margin:g}, "
            f"threshold {self.threshold:g}) on the {self.comparison.what}"
        )


def _soft_sum(exponent: Tensor, counted: Tensor) -> Tensor:
    """(n,) `log(1 + sum exp)` over what is counted."""
    kept = exponent.masked_fill(~counted, -torch.inf)
    return torch.cat([kept, kept.new_zeros(len(kept), 1)], dim=1).logsumexp(dim=1)
