"""The quadruplet loss, which pytorch-metric-learning does not have."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.learning.losses.objective import PAPER, LossSpec, Objective, require_positive
from diml.learning.losses.pair_measure import DISTANCE, PairMeasure
from diml.learning.losses.triplets import another_negative, distance_weighted
from diml.matching import Matcher, prepare


class Quadruplet(Objective):
    """A triplet loss that also separates pairs of other classes (Chen et al. 2017).

    `relu(d_ap - d_an + m1) + relu(d_ap - d_nk + m2)` averaged over quadruples; k is of a third class, neither the
    anchor's nor the negative's. Triplets come from distance-weighted mining on the pooled vectors, k is drawn
    uniformly, and only these pairs are matched. Without a third class in the batch, the second term is left out.

    Args:
        matcher: settings of the distance, as in `Margin`.
        margin: m1, in units of the distance, 0..2.
        second_margin: m2.
        cutoff, nonzero_loss_cutoff: options of the mining, see `distance_weighted`.

    >>> import torch
    >>> maps = FeatureMaps(torch.randn(6, 4, 16), grid=(2, 2))
    >>> Quadruplet()(maps, torch.tensor([0, 0, 1, 1, 2, 2])).shape
    torch.Size([])
    """

    def __init__(
        self,
        matcher: Matcher = PAPER,
        margin: float = 0.2,
        second_margin: float = 0.2,
        cutoff: float = 0.5,
        nonzero_loss_cutoff: float = 1.4,
    ) -> None:
        super().__init__()
        require_positive(
            margin=margin, second_margin=second_margin, cutoff=cutoff, nonzero_loss_cutoff=nonzero_loss_cutoff
        )
        self.measure = PairMeasure(matcher, DISTANCE)
        self.margin, self.second_margin = margin, second_margin
        self.cutoff, self.nonzero_loss_cutoff = cutoff, nonzero_loss_cutoff

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        rows = prepare(maps)
        a, p, n = distance_weighted(rows.rows[:, -1].detach(), labels, self.cutoff, self.nonzero_loss_cutoff)
        third = another_negative(labels, a, n)
        some = third >= 0
        i, j = torch.cat([a, a, n[some]]), torch.cat([p, n, third[some]])
        numbers = self.measure.pairs(rows, rows, i, j)
        to_positive, to_negative, apart = numbers[: len(a)], numbers[len(a) : 2 * len(a)], numbers[2 * len(a) :]
        first = (to_positive - to_negative + self.margin).relu()
        second = (to_positive[some] - apart + self.second_margin).relu()
        total: Tensor = first.sum() + second.sum()
        return total / max(len(a), 1)

    def describe(self) -> str:
        return f"quadruplet (margins {self.margin:g} and {self.second_margin:g}) on the {self.measure.description}"


QUADRUPLET = LossSpec(
    "Chen et al. 2017",
    lambda context: Quadruplet(context.matcher, **context.options),
    {"margin": 0.2, "second_margin": 0.2, "cutoff": 0.5, "nonzero_loss_cutoff": 1.4},
)
