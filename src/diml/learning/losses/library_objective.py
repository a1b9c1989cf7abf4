"""Losses of pytorch-metric-learning as objectives, on matched feature maps or on pooled vectors."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from jaxtyping import Float, Int
from pytorch_metric_learning import distances
from torch import Tensor, nn

from diml.feature_maps import FeatureMaps
from diml.learning.losses.all_pairs import exact
from diml.learning.losses.distances import StructuralDistance, StructuralSimilarity, flattened
from diml.learning.losses.objective import Objective
from diml.learning.losses.triplets import Tuples


class LibraryObjective(Objective):
    """A loss of pytorch-metric-learning on the feature maps of a batch.

    Args:
        loss: a `BaseMetricLossFunction`. If its distance is a `StructuralSimilarity` or `StructuralDistance`, also
            inside an `Adjusted`, it sees flattened maps, otherwise pooled vectors; both in float32 or better.
        description: the line that `describe` returns; by default the class of the loss and what it compares.
        tuples: selects the triplets that the loss sees, from (embeddings, pooled, labels), and only their pairs are
            matched; None for all pairs or triplets.

    >>> from pytorch_metric_learning.losses import ContrastiveLoss
    >>> objective = LibraryObjective(ContrastiveLoss(distance=StructuralDistance((2, 2))))
    >>> objective.describe()
    'ContrastiveLoss on the structural distance (cross_correlation marginals, weight 0.5, eps 0.05)'
    >>> objective(FeatureMaps(torch.randn(4, 4, 8), grid=(2, 2)), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    def __init__(self, loss: nn.Module, description: str | None = None, tuples: Tuples | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.tuples = tuples
        distance = loss.distance.distance if isinstance(loss.distance, Adjusted) else loss.distance
        self.structural = distance if isinstance(distance, StructuralSimilarity | StructuralDistance) else None
        self.description = description or f"{type(loss).__name__} on the {self.compared}"

    @property
    def compared(self) -> str:
        """What the loss compares, in words."""
        return self.structural.measure.description if self.structural else "pooled vectors"

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        pooled = full(maps.pooled)
        embeddings = full(flattened(maps)) if self.structural else pooled
        with exact(embeddings):
            if self.tuples is None:
                found: Tensor = self.loss(embeddings, labels)
                return found
            chosen = self.tuples(embeddings, pooled, labels)
            anchors, positives, negatives = chosen
            asked = torch.cat([anchors, anchors]), torch.cat([positives, negatives])
            with self.structural.only(*asked) if self.structural else nullcontext():
                of_these: Tensor = self.loss(embeddings, labels, chosen)
        return of_these

    def describe(self) -> str:
        return self.description


class Adjusted(distances.BaseDistance):
    """Another similarity, clamped to -limit..limit and then scaled.

    For losses that need a certain range: a histogram fails on similarities that rounding has lifted above 1, and a
    softmax over values within -1..1 cannot separate anything.
    """

    def __init__(self, distance: Any, scale: float = 1.0, limit: float = float("inf")) -> None:
        super().__init__(normalize_embeddings=False, is_inverted=distance.is_inverted)
        self.distance, self.scale, self.limit = distance, scale, limit

    def compute_mat(self, query_emb: Tensor, ref_emb: Tensor | None) -> Tensor:
        found: Tensor = self.distance(query_emb, ref_emb)
        return found.clamp(-self.limit, self.limit) * self.scale

    def pairwise_distance(self, query_emb: Tensor, ref_emb: Tensor) -> Tensor:
        found: Tensor = self.distance.pairwise_distance(query_emb, ref_emb)
        return found.clamp(-self.limit, self.limit) * self.scale


def full(x: Tensor) -> Tensor:
    """Convert half precision to float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
