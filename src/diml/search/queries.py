"""What is looked for: an image as a whole, or a part of one. Both rank coarse to fine and account for their hits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.matching import Match, chosen_parts, find_part, part_similarity, top_k
from diml.model import StructuralModel


class Query(Protocol):
    """One image, and how images of an index are compared with it."""

    @property
    def maps(self) -> FeatureMaps:
        """Of one image; their pooled vector is what the coarse ranking goes by."""
        ...

    def scores(self, gallery: FeatureMaps) -> Float[Tensor, " n"]:
        """Similarities as images are ranked by them."""
        ...

    def best(self, gallery: FeatureMaps, k: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """Indices and similarities of the k most similar, equal ones by index; fewer where there are fewer."""
        ...

    def match(self, gallery: FeatureMaps) -> Match:
        """The query (a) with each image (b) in float64: the numbers that are shown."""
        ...


def coarse_vector(query: Query) -> np.ndarray:
    """(dim,) float32."""
    vector: np.ndarray = query.maps.pooled[0].detach().float().cpu().numpy()
    return vector


@dataclass(frozen=True, eq=False)
class WholeQuery:
    """An image, compared as the model compares two images."""

    model: StructuralModel
    maps: FeatureMaps

    def scores(self, gallery: FeatureMaps) -> Float[Tensor, " n"]:
        every = torch.arange(len(gallery))[None]
        return self.model.matcher.rerank(self.maps.detach(), gallery.to(self.maps.device), every)[0]

    def best(self, gallery: FeatureMaps, k: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        found = top_k(self.model.matcher, self.maps.detach(), gallery.to(self.maps.device), k)
        return found.indices[0], found.similarity[0]

    def match(self, gallery: FeatureMaps) -> Match:
        return self.model.explain(self.maps[[0] * len(gallery)], gallery)


class PartQuery:
    """Some cells of an image, matched one-sided: they may be anywhere in a hit, whose rest does not count.

    Args:
        model: gives `eps`; its marginals, weight and mass do not matter here.
        maps: of one image.
        weights: (1, r) of its cells.
    """

    def __init__(self, model: StructuralModel, maps: FeatureMaps, weights: Float[Tensor, "1 r"]) -> None:
        self.maps = chosen_parts(maps.detach(), weights)
        self.weights = weights
        self.eps = model.matcher.eps

    def scores(self, gallery: FeatureMaps) -> Float[Tensor, " n"]:
        return part_similarity(self.maps, gallery.to(self.maps.device), self.weights, self.eps)

    def best(self, gallery: FeatureMaps, k: int) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        scores, order = self.scores(gallery).sort(descending=True, stable=True)
        return order[:k], scores[:k]

    def match(self, gallery: FeatureMaps) -> Match:
        query, found = (maps.detach().to("cpu").to(torch.float64) for maps in (self.maps, gallery))
        n = len(gallery)
        return find_part(query[[0] * n], found, self.weights.expand(n, -1), self.eps)
