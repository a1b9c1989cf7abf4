"""Losses of pytorch-metric-learning as objectives: on flattened maps with structural matching, or on pooled vectors."""

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
        loss: a `BaseMetricLossFunction`. Where its distance is a `StructuralSimilarity` or `StructuralDistance`, also
            within an `Adjusted`, it sees flattened maps, else pooled vectors; both in float32 or better.
        description: for `describe`.
        tuples: which triplets it is shown, of (embeddings, pooled, labels); left out, all that there are. Only the
            pairs of these are matched.

    >>> from pytorch_metric_learning.losses import ContrastiveLoss
    >>> objective = LibraryObjective(ContrastiveLoss(distance=StructuralDistance((2, 2))), "contrastive")
    >>> objective(FeatureMaps(torch.randn(4, 4, 8), grid=(2, 2)), torch.tensor([0, 0, 1, 1])).shape
    torch.Size([])
    """

    def __init__(self, loss: nn.Module, description: str, tuples: Tuples | None = None) -> None:
        super().__init__()
        self.loss = loss
        self.description = description
        self.tuples = tuples
        distance = loss.distance.distance if isinstance(loss.distance, Adjusted) else loss.distance
        self.structural = distance if isinstance(distance, StructuralSimilarity | StructuralDistance) else None

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

    For losses that want a similarity in a range of their own: a histogram, which fails on a 1 that rounding has
    lifted, and a softmax, which cannot tell anything apart within -1..1.
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
    """Half precision is not computed in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
