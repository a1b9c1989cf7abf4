"""The multi-similarity loss: all hard pairs of a batch, weighted by their similarity."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.learning.losses.objective import PAPER, LossSpec, Objective, require_positive
from diml.learning.losses.pair_measure import PairMeasure
from diml.matching import Matcher


class MultiSimilarity(Objective):
    """The multi-similarity loss on matched parts (Wang et al. 2019; Zhao et al. 2021, there for the structural one).

    For every anchor `log(1 + sum_P exp(-a (s - t))) / a + log(1 + sum_N exp(b (s - t))) / b`, averaged over the batch,
    where s are the similarities with its hard positives P and hard negatives N. A positive is hard if it is less
    similar than the most similar negative plus the margin, a negative if it is more similar than the least similar
    positive minus the margin.

    Args:
        matcher: settings of the similarity `(1 - w) p + w sum_ij T_ij S_ij`; with weight 0 it is the pooled similarity.
        positive_weight: a.
        negative_weight: b.
        margin: margin of the mining, in units of the similarity.
        threshold: t.

    Raises:
        UsageError: a weight is not above 0.

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
        require_positive(positive_weight=positive_weight, negative_weight=negative_weight)
        self.measure = PairMeasure(matcher)
        self.positive_weight, self.negative_weight = positive_weight, negative_weight
        self.margin, self.threshold = margin, threshold

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        similarity = self.measure.matrix(maps)
        positive, negative = self.hard(similarity.detach(), labels)
        apart = similarity - self.threshold
        near = _soft_sum(-self.positive_weight * apart, positive) / self.positive_weight
        far = _soft_sum(self.negative_weight * apart, negative) / self.negative_weight
        return (near + far).mean()

    def hard(self, similarity: Float[Tensor, "n n"], labels: Int[Tensor, " n"]) -> tuple[Tensor, Tensor]:
        """Two masks (n, n): the hard positives and the hard negatives of each anchor, in rows."""
        same = labels[:, None] == labels
        other = ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        least = similarity.masked_fill(~(same & other), torch.inf).amin(dim=1, keepdim=True)
        most = similarity.masked_fill(same, -torch.inf).amax(dim=1, keepdim=True)
        return same & other & (similarity - self.margin < most), ~same & (similarity + self.margin > least)

    def describe(self) -> str:
        return (
            f"multisimilarity (weights {self.positive_weight:g} and {self.negative_weight:g}, margin {self.margin:g}, "
            f"threshold {self.threshold:g}) on the {self.measure.description}"
        )


def _soft_sum(exponent: Tensor, counted: Tensor) -> Tensor:
    """(n,) `log(1 + sum exp)` over the marked entries of each row."""
    kept = exponent.masked_fill(~counted, -torch.inf)
    return torch.cat([kept, kept.new_zeros(len(kept), 1)], dim=1).logsumexp(dim=1)


MULTI_SIMILARITY = LossSpec(
    "Wang et al. 2019",
    lambda context: MultiSimilarity(context.matcher, **context.options),
    {"positive_weight": 2.0, "negative_weight": 40.0, "margin": 0.1, "threshold": 0.5},
)
