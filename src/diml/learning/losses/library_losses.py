"""The losses of pytorch-metric-learning that can be requested by name, with the settings they are built with.

Defaults that a loss leaves open are those of Roth et al. 2020 ("Revisiting Training Strategies and Generalization
Performance in Deep Metric Learning"), which the paper's tables follow, where they include the loss.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pytorch_metric_learning import distances, losses, miners, regularizers
from torch import Tensor, nn

from diml.learning.losses.library_objective import Adjusted
from diml.learning.losses.objective import LossContext, LossSpec
from diml.learning.losses.pair_measure import SMALL
from diml.learning.losses.triplets import Tuples, distance_weighted, random_triplets, softhard


class CentersApart(nn.Module):
    """Half the mean distance between the centres of one class, `sqrt(2 - 2 cos + 1e-6) / 2` (Qian et al. 2019, eq. 9).

    Equals `SparseCentersRegularizer` of pytorch-metric-learning, which computes the matrix of all centres of all
    classes: 2 GB for the 22,636 centres of Stanford Online Products. Here only centres of one class are compared.

    Args:
        centers: centres per class, at least 2; the centres of a class are adjacent rows.

    >>> CentersApart(2)(torch.eye(4)).round(decimals=4)
    tensor(0.7071)
    """

    def __init__(self, centers: int) -> None:
        super().__init__()
        self.centers = centers

    def forward(self, weights: Float[Tensor, "proxies width"]) -> Float[Tensor, ""]:
        by_class = F.normalize(weights, dim=1).reshape(-1, self.centers, weights.shape[1])
        cosine = by_class @ by_class.mT
        i, j = torch.triu_indices(self.centers, self.centers, offset=1, device=weights.device)
        chords: Tensor = (2 - 2 * cosine[:, i, j]).clamp(min=0).add(SMALL).sqrt()
        return chords.mean() / 2


def _softmax(context: LossContext) -> Any:
    distance = context.similarity()
    return losses.NormalizedSoftmaxLoss(context.classes, context.width, distance=distance, **context.options)


def _npair(context: LossContext) -> Any:
    scale, penalty = context.options["scale"], context.options["penalty"]
    if context.structural:
        return losses.NPairsLoss(distance=Adjusted(context.similarity(), scale))
    return losses.NPairsLoss(
        distance=distances.DotProductSimilarity(normalize_embeddings=False),
        embedding_regularizer=regularizers.LpRegularizer(power=2),
        embedding_reg_weight=penalty,
    )


def _snr(context: LossContext) -> Any:
    return losses.TripletMarginLoss(
        margin=context.options["margin"],
        distance=distances.SNRDistance(),
        embedding_regularizer=regularizers.ZeroMeanRegularizer(),
        embedding_reg_weight=context.options["penalty"],
    )


def _softtriple(context: LossContext) -> Any:
    centers, penalty = int(context.options["centers_per_class"]), context.options["penalty"]
    options: dict[str, Any] = {key: context.options[key] for key in ("la", "gamma", "margin")}
    if centers > 1 and penalty:
        options |= {"weight_regularizer": CentersApart(centers), "weight_reg_weight": penalty}
    distance = context.similarity()
    return losses.SoftTripleLoss(context.classes, context.width, centers, distance=distance, **options)


def _histogram(context: LossContext) -> Any:
    # Rounding can lift a similarity above 1, which has no bin.
    return losses.HistogramLoss(int(context.options["bins"]), distance=Adjusted(context.similarity(), limit=1 - 1e-6))


def _triplet(context: LossContext) -> Any:
    return losses.TripletMarginLoss(margin=context.options["margin"], distance=context.distance())


def _distance_weighted(context: LossContext, loss: Any) -> Tuples:
    return lambda embeddings, pooled, labels: distance_weighted(pooled, labels)


def _random(context: LossContext, loss: Any) -> Tuples:
    return lambda embeddings, pooled, labels: random_triplets(labels)


def _semihard(context: LossContext, loss: Any) -> Tuples:
    miner = miners.TripletMarginMiner(context.options["margin"], "semihard", distance=loss.distance)

    def mined(embeddings: Tensor, pooled: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = miner(embeddings.detach(), labels)
        return found

    return mined


def _softhard(context: LossContext, loss: Any) -> Tuples:
    return lambda embeddings, pooled, labels: softhard(loss.distance(embeddings.detach()), labels)


ANGULAR = LossSpec("Wang et al. 2017", lambda c: losses.AngularLoss(**c.options), {"alpha": 45.0}, structural=False)
ARCFACE = LossSpec(
    "Deng et al. 2019",
    lambda c: losses.ArcFaceLoss(c.classes, c.dim, **c.options),
    {"margin": 28.6, "scale": 16.0},
    structural=False,
)
CIRCLE = LossSpec(
    "Sun et al. 2020", lambda c: losses.CircleLoss(**c.options), {"m": 0.4, "gamma": 80.0}, structural=False
)
CONTRASTIVE = LossSpec(
    "Hadsell, Chopra, LeCun 2006",
    lambda c: losses.ContrastiveLoss(distance=c.distance(), **c.options),
    {"pos_margin": 0.0, "neg_margin": 1.0},
)
HISTOGRAM = LossSpec("Ustinova, Lempitsky 2016", _histogram, {"bins": 65})
LIFTED = LossSpec(
    "Song et al. 2016, generalised by Hermans, Beyer, Leibe 2017",
    lambda c: losses.GeneralizedLiftedStructureLoss(distance=c.distance(), **c.options),
    {"neg_margin": 1.0, "pos_margin": 0.0},
)
NPAIR = LossSpec("Sohn 2016", _npair, {"scale": 20.0, "penalty": 0.005})
PROXY_ANCHOR = LossSpec(
    "Kim et al. 2020",
    lambda c: losses.ProxyAnchorLoss(c.classes, c.width, distance=c.similarity(), **c.options),
    {"margin": 0.1, "alpha": 32.0},
)
PROXY_NCA = LossSpec(
    "Movshovitz-Attias et al. 2017",
    lambda c: losses.ProxyNCALoss(c.classes, c.width, distance=c.distance(power=2), **c.options),
    {"softmax_scale": 9.0},
)
SNR = LossSpec("Yuan et al. 2019", _snr, {"margin": 0.2, "penalty": 0.005}, structural=False, tuples=_distance_weighted)
SOFTMAX = LossSpec("Zhai, Wu 2019", _softmax, {"temperature": 0.05})
SOFTTRIPLE = LossSpec(
    "Qian et al. 2019",
    _softtriple,
    {"centers_per_class": 2, "la": 8.0, "gamma": 0.1, "margin": 0.01, "penalty": 0.2},
)
SUPCON = LossSpec(
    "Khosla et al. 2020", lambda c: losses.SupConLoss(distance=c.similarity(), **c.options), {"temperature": 0.1}
)
SCHROFF = "Schroff, Kalenichenko, Philbin 2015"
TRIPLET_RANDOM = LossSpec(SCHROFF, _triplet, {"margin": 0.2}, tuples=_random)
TRIPLET_SEMIHARD = LossSpec(SCHROFF, _triplet, {"margin": 0.2}, tuples=_semihard)
TRIPLET_SOFTHARD = LossSpec(SCHROFF, _triplet, {"margin": 0.2}, tuples=_softhard)
TRIPLET_DISTANCE = LossSpec(f"{SCHROFF}; Wu et al. 2017", _triplet, {"margin": 0.2}, tuples=_distance_weighted)
