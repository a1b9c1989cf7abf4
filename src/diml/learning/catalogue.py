"""Every loss by its name: the paper's two, and those it is compared with, on structural matching or on pooled vectors.

Numbers that a loss leaves open are those of the comparison that the paper's tables follow, Roth et al. 2020
("Revisiting Training Strategies and Generalization Performance in Deep Metric Learning"), where it has the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from diml.learning.centers import CentersApart
from diml.learning.distances import StructuralDistance, StructuralSimilarity
from diml.learning.library import distances, losses, miners, regularizers
from diml.learning.library_objective import Adjusted, Tuples
from diml.learning.mining import distance_weighted, random_triplets, softhard
from diml.learning.objectives import Margin, MultiSimilarity
from diml.learning.quadruplet import Quadruplet
from diml.matching import Matcher

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Asked:
    """What a loss is built from.

    Attributes:
        structural: whether it compares matched maps, else pooled vectors.
        classes: of the training images.
        dim: d, numbers per part.
        grid: of the maps.
        matcher: settings of the matching; its weight is 0 where pooled vectors are compared.
        numbers: the options of the loss, all of them.
    """

    structural: bool
    classes: int
    dim: int
    grid: tuple[int, int]
    matcher: Matcher
    numbers: Numbers

    @property
    def width(self) -> int:
        """Numbers of an embedding, and so of a proxy: a proxy of structural matching is itself a map."""
        return self.grid[0] * self.grid[1] * self.dim if self.structural else self.dim

    def similarity(self) -> Any:
        return self._structural(StructuralSimilarity) if self.structural else distances.CosineSimilarity()

    def distance(self, power: int = 1) -> Any:
        return (
            self._structural(StructuralDistance, power=power) if self.structural else distances.LpDistance(power=power)
        )

    def _structural(self, kind: Any, **settings: Any) -> Any:
        m = self.matcher
        numbers = m.weight, m.eps, m.tolerance, m.max_iterations
        return kind(self.grid, m.marginals, *numbers, dim=self.dim, **settings)


@dataclass(frozen=True)
class Loss:
    """A loss that can be asked for by name.

    Attributes:
        source: where it was published.
        build: the objective, or the loss of pytorch-metric-learning.
        options: its numbers, with their defaults.
        structural: whether it can take structural matching; else it insists on a distance of its own.
        tuples: the triplets it is shown, if not all.
    """

    source: str
    build: Callable[[Asked], Any]
    options: Numbers = field(default_factory=dict)
    structural: bool = True
    tuples: Callable[[Asked, Any], Tuples] | None = None


def _softmax(asked: Asked) -> Any:
    similarity = asked.similarity()
    return losses.NormalizedSoftmaxLoss(asked.classes, asked.width, distance=similarity, **asked.numbers)


def _npair(asked: Asked) -> Any:
    scale, penalty = asked.numbers["scale"], asked.numbers["penalty"]
    if asked.structural:
        return losses.NPairsLoss(distance=Adjusted(asked.similarity(), scale))
    return losses.NPairsLoss(
        distance=distances.DotProductSimilarity(normalize_embeddings=False),
        embedding_regularizer=regularizers.LpRegularizer(power=2),
        embedding_reg_weight=penalty,
    )


def _snr(asked: Asked) -> Any:
    return losses.TripletMarginLoss(
        margin=asked.numbers["margin"],
        distance=distances.SNRDistance(),
        embedding_regularizer=regularizers.ZeroMeanRegularizer(),
        embedding_reg_weight=asked.numbers["penalty"],
    )


def _softtriple(asked: Asked) -> Any:
    centers, penalty = int(asked.numbers["centers_per_class"]), asked.numbers["penalty"]
    numbers = {key: asked.numbers[key] for key in ("la", "gamma", "margin")}
    regular: dict[str, Any] = {}
    if centers > 1 and penalty:
        regular = {"weight_regularizer": CentersApart(centers), "weight_reg_weight": penalty}
    return losses.SoftTripleLoss(asked.classes, asked.width, centers, distance=asked.similarity(), **numbers, **regular)


def _triplet(asked: Asked) -> Any:
    return losses.TripletMarginLoss(margin=asked.numbers["margin"], distance=asked.distance())


def _by_distance(asked: Asked, loss: Any) -> Tuples:
    return lambda embeddings, pooled, labels: distance_weighted(pooled, labels)


def _by_chance(asked: Asked, loss: Any) -> Tuples:
    return lambda embeddings, pooled, labels: random_triplets(labels)


def _semihard(asked: Asked, loss: Any) -> Tuples:
    miner = miners.TripletMarginMiner(asked.numbers["margin"], "semihard", distance=loss.distance)

    def mined(embeddings: Tensor, pooled: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = miner(embeddings.detach(), labels)
        return found

    return mined


def _softhard(asked: Asked, loss: Any) -> Tuples:
    return lambda embeddings, pooled, labels: softhard(loss.distance(embeddings.detach()), labels)


TRIPLET = "Schroff, Kalenichenko, Philbin 2015"
LOSSES: Mapping[str, Loss] = {
    "angular": Loss("Wang et al. 2017", lambda a: losses.AngularLoss(**a.numbers), {"alpha": 45.0}, structural=False),
    "arcface": Loss(
        "Deng et al. 2019",
        lambda a: losses.ArcFaceLoss(a.classes, a.dim, **a.numbers),
        {"margin": 28.6, "scale": 16.0},
        structural=False,
    ),
    "circle": Loss(
        "Sun et al. 2020", lambda a: losses.CircleLoss(**a.numbers), {"m": 0.4, "gamma": 80.0}, structural=False
    ),
    "contrastive": Loss(
        "Hadsell, Chopra, LeCun 2006",
        lambda a: losses.ContrastiveLoss(distance=a.distance(), **a.numbers),
        {"pos_margin": 0.0, "neg_margin": 1.0},
    ),
    "histogram": Loss(
        "Ustinova, Lempitsky 2016",
        lambda a: losses.HistogramLoss(int(a.numbers["bins"]), distance=Adjusted(a.similarity(), limit=1 - 1e-6)),
        {"bins": 65},
    ),
    "lifted": Loss(
        "Song et al. 2016, generalised by Hermans, Beyer, Leibe 2017",
        lambda a: losses.GeneralizedLiftedStructureLoss(distance=a.distance(), **a.numbers),
        {"neg_margin": 1.0, "pos_margin": 0.0},
    ),
    "margin": Loss(
        "Wu et al. 2017",
        lambda a: Margin(a.classes, a.matcher, **a.numbers),
        {"margin": 0.2, "beta": 1.2, "cutoff": 0.5, "nonzero_loss_cutoff": 1.4},
    ),
    "multisimilarity": Loss(
        "Wang et al. 2019",
        lambda a: MultiSimilarity(a.matcher, **a.numbers),
        {"positive_weight": 2.0, "negative_weight": 40.0, "margin": 0.1, "threshold": 0.5},
    ),
    "npair": Loss("Sohn 2016", _npair, {"scale": 20.0, "penalty": 0.005}),
    "proxy-anchor": Loss(
        "Kim et al. 2020",
        lambda a: losses.ProxyAnchorLoss(a.classes, a.width, distance=a.similarity(), **a.numbers),
        {"margin": 0.1, "alpha": 32.0},
    ),
    "proxynca": Loss(
        "Movshovitz-Attias et al. 2017",
        lambda a: losses.ProxyNCALoss(a.classes, a.width, distance=a.distance(power=2), **a.numbers),
        {"softmax_scale": 9.0},
    ),
    "quadruplet": Loss(
        "Chen et al. 2017",
        lambda a: Quadruplet(a.matcher, **a.numbers),
        {"margin": 0.2, "second_margin": 0.2, "cutoff": 0.5, "nonzero_loss_cutoff": 1.4},
    ),
    "snr": Loss("Yuan et al. 2019", _snr, {"margin": 0.2, "penalty": 0.005}, structural=False, tuples=_by_distance),
    "softmax": Loss("Zhai, Wu 2019", _softmax, {"temperature": 0.05}),
    "softtriple": Loss(
        "Qian et al. 2019",
        _softtriple,
        {"centers_per_class": 2, "la": 8.0, "gamma": 0.1, "margin": 0.01, "penalty": 0.2},
    ),
    "supcon": Loss(
        "Khosla et al. 2020",
        lambda a: losses.SupConLoss(distance=a.similarity(), **a.numbers),
        {"temperature": 0.1},
    ),
    "triplet-random": Loss(TRIPLET, _triplet, {"margin": 0.2}, tuples=_by_chance),
    "triplet-semihard": Loss(TRIPLET, _triplet, {"margin": 0.2}, tuples=_semihard),
    "triplet-softhard": Loss(TRIPLET, _triplet, {"margin": 0.2}, tuples=_softhard),
    "triplet-distance": Loss(f"{TRIPLET}; Wu et al. 2017", _triplet, {"margin": 0.2}, tuples=_by_distance),
}
