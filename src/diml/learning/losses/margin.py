"""The margin loss: a learned boundary between positives and negatives for each class."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning.losses.objective import PAPER, LossSpec, Objective, require_positive
from diml.learning.losses.pair_measure import DISTANCE, PairMeasure
from diml.learning.losses.triplets import Triplets, distance_weighted
from diml.matching import Matcher, prepare


class Margin(Objective):
    """The margin loss on matched parts (Wu et al. 2017; Zhao et al. 2021, there for the structural distance).

    `sum over triplets of relu(m + d_ap - beta_y) + relu(m - d_an + beta_y)`, divided by the number of terms above 0;
    y is the class of the anchor, and beta_y is learned. Triplets, one per anchor, come from distance-weighted mining on
    the pooled vectors, and only their pairs are matched. A batch without triplets gives 0.

    Args:
        classes: number of classes, each with its own beta.
        matcher: settings of the distance `(1 - w) sqrt(2 - 2 p + 1e-6) + w sum_ij T_ij sqrt(2 - 2 S_ij + 1e-6)`; with
            weight 0 it is the distance of the pooled vectors.
        margin: m, in units of the distance, 0..2.
        beta: initial value of the betas.
        cutoff, nonzero_loss_cutoff: options of the mining, see `distance_weighted`.

    Raises:
        UsageError: an option is out of its range.

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
        require_positive(classes=classes, margin=margin, cutoff=cutoff)
        if not cutoff < nonzero_loss_cutoff <= 2:
            raise UsageError(f"expected cutoff < nonzero_loss_cutoff <= 2, got {cutoff} and {nonzero_loss_cutoff}")
        self.measure = PairMeasure(matcher, DISTANCE)
        self.margin, self.cutoff, self.nonzero_loss_cutoff = margin, cutoff, nonzero_loss_cutoff
        self.beta = nn.Parameter(torch.full((classes,), float(beta)))

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        rows = prepare(maps)
        anchors, positives, negatives = self.triplets(rows.rows[:, -1].detach(), labels)
        i, j = torch.cat([anchors, anchors]), torch.cat([positives, negatives])
        to_positive, to_negative = self.measure.pairs(rows, rows, i, j).chunk(2)
        return margin_loss(to_positive, to_negative, self.beta[labels[anchors]], self.margin)

    def triplets(self, pooled: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Triplets:
        """The triplets of a batch, drawn again at every call."""
        return distance_weighted(pooled, labels, self.cutoff, self.nonzero_loss_cutoff)

    def describe(self) -> str:
        return (
            f"margin (margin {self.margin:g}, a beta for each of {len(self.beta)} classes, distance-weighted triplets "
            f"within {self.cutoff:g}..{self.nonzero_loss_cutoff:g}) on the {self.measure.description}"
        )


def margin_loss(
    to_positive: Float[Tensor, " t"], to_negative: Float[Tensor, " t"], beta: Float[Tensor, " t"], margin: float
) -> Float[Tensor, ""]:
    """`relu(m + d_ap - beta) + relu(m - d_an + beta)` summed over triplets, divided by the number of terms above 0.

    >>> import torch
    >>> margin_loss(torch.tensor([1.5]), torch.tensor([1.25]), torch.tensor([1.25]), 0.25)
    tensor(0.3750)
    """
    terms = torch.cat([(margin + to_positive - beta).relu(), (margin - to_negative + beta).relu()])
    return terms.sum() / (terms > 0).sum().clamp(min=1)


MARGIN = LossSpec(
    "Wu et al. 2017",
    lambda context: Margin(context.classes, context.matcher, **context.options),
    {"margin": 0.2, "beta": 1.2, "cutoff": 0.5, "nonzero_loss_cutoff": 1.4},
)
