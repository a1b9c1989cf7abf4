"""Queries: a whole image, a part of it, or an image weighted by its attention, prepared for comparison with others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from diml.embedding import Rollout
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.image_sizes import original_of
from diml.matching import (
    CodedMaps,
    Match,
    RegionLike,
    UnitMaps,
    chosen_parts,
    counted_parts,
    find_part,
    part_similarity,
    prepare,
    top_k,
)
from diml.matching.bounds import structural_bounds
from diml.matching.score import combine
from diml.matching.topk import MARGIN
from diml.model.query_part import Mask, PartChoice, QueryPart
from diml.model.rollout import rollout_of
from diml.model.sources import Source, as_list
from diml.model.structural import StructuralModel, exactly


@dataclass(frozen=True, eq=False, kw_only=True)
class Query(ABC):
    """One image, and how other images are compared with it. Made by `StructuralModel.query`.

    Attributes:
        model: embeds and compares images.
        maps: feature maps of the image, n = 1; a coarse ranking uses their pooled vector.
        image: as `StructuralModel.read` decodes it; None where a tensor or feature maps were given.
        source: the image as the caller gave it.
        part: the part of the image that is looked for; None for the whole image.
    """

    model: StructuralModel
    maps: FeatureMaps
    image: Image.Image | None = field(default=None, repr=False)
    source: Source | FeatureMaps | None = field(default=None, repr=False)
    part: QueryPart | None = None

    @property
    @abstractmethod
    def marginals(self) -> str:
        """Name of the marginals: of a scheme, `part`, `rollout:2`, or `given` for tensors."""

    @abstractmethod
    def scores(self, gallery: FeatureMaps | CodedMaps) -> Float[Tensor, " n"]:
        """Similarities with n images, float32, solved to the matcher's tolerance, for ranking."""

    @abstractmethod
    def best(
        self, gallery: FeatureMaps | CodedMaps, k: int, least: float | None = None
    ) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        """Indices and similarities of the k most similar of n images, ties ordered by index; fewer where n < k.

        Images whose similarity is below `least` may be left out.
        """

    @property
    @abstractmethod
    def units(self) -> Float[Tensor, "r d"]:
        """The unit vectors of the parts, float32, on the CPU."""

    @abstractmethod
    def upper_bounds(
        self, pooled: Float[Tensor, " n"], likeness: Float[Tensor, "n r r_b"], weights: Float[Tensor, "n r_b"]
    ) -> Float[Tensor, " n"]:
        """(n,): no less than the `scores` of n images, without their maps.

        Args:
            pooled, likeness: no less than their pooled and local similarities.
            weights: of their parts.
        """

    @abstractmethod
    def match(self, gallery: FeatureMaps) -> Match:
        """The query (a) matched with each of n images (b), float64 at tolerance 1e-6, for displayed numbers."""

    def match_images(self, images: Source | Iterable[Source]) -> Match:
        """As `match`, for images.

        Raises:
            ImageError: for the first image that cannot be read.
        """
        return self.match(self.model.encode(images))

    def match_image(self, image: Source) -> Match:
        """As `match`, for one image."""
        return self.match_images([image])


@dataclass(frozen=True, eq=False, kw_only=True)
class WholeQuery(Query):
    """A whole image, compared as the model compares two images.

    >>> model = StructuralModel.wrap(torch.nn.Conv2d(3, 8, 32, 32))
    >>> query = model.query(torch.zeros(3, 64, 64))
    >>> query.match_images(torch.ones(2, 3, 64, 64)).similarity.shape, query.marginals
    (torch.Size([2]), 'uniform')
    """

    @property
    def marginals(self) -> str:
        given = self.model.matcher.marginals
        if isinstance(given, str):
            return given
        return "given" if isinstance(given, tuple) else getattr(given, "__name__", "custom")

    @cached_property
    def prepared(self) -> UnitMaps:
        """The maps, prepared for matching once for all galleries that the query is compared with."""
        return prepare(self.maps.detach())

    def scores(self, gallery: FeatureMaps | CodedMaps) -> Float[Tensor, " n"]:
        every = torch.arange(len(gallery))[None]
        return self.model.matcher.rerank(self.prepared, gallery.to(self.maps.device), every)[0]

    def best(
        self, gallery: FeatureMaps | CodedMaps, k: int, least: float | None = None
    ) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        found = top_k(self.model.matcher, self.prepared, gallery.to(self.maps.device), k, least=least)
        wanted = found.indices[0] < len(gallery)
        return found.indices[0][wanted], found.similarity[0][wanted]

    @property
    def units(self) -> Float[Tensor, "r d"]:
        return self.prepared.rows[0, :-1].float().cpu()

    def upper_bounds(
        self, pooled: Float[Tensor, " n"], likeness: Float[Tensor, "n r r_b"], weights: Float[Tensor, "n r_b"]
    ) -> Float[Tensor, " n"]:
        matcher = self.model.matcher
        alpha = self.maps.weights_or_uniform.detach().float().cpu()
        structural = structural_bounds(matcher, likeness, alpha, weights)
        return combine(pooled, structural, matcher.weight) + MARGIN

    def match(self, gallery: FeatureMaps) -> Match:
        return self.model.explain(self.maps[[0] * len(gallery)], gallery)


@dataclass(frozen=True, eq=False, kw_only=True)
class PartQuery(Query):
    """Some cells of an image, matched one-sided: with any cells of another image, whose other cells do not count.

    Only the matcher's `eps` is used. The pooled vector of `maps` is the weighted mean of the chosen cells. See
    `diml.matching.find_part`.
    """

    part: QueryPart

    def __post_init__(self) -> None:
        object.__setattr__(self, "maps", chosen_parts(self.maps.detach(), self.weights))

    @property
    def weights(self) -> Float[Tensor, "1 r"]:
        return self.part.weights.reshape(1, -1)

    @property
    def marginals(self) -> str:
        return "part"

    def scores(self, gallery: FeatureMaps | CodedMaps) -> Float[Tensor, " n"]:
        maps = gallery.maps() if isinstance(gallery, CodedMaps) else gallery
        return part_similarity(self.maps, maps.to(self.maps.device), self.weights, self.model.matcher.eps)

    def best(
        self, gallery: FeatureMaps | CodedMaps, k: int, least: float | None = None
    ) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        scores, order = self.scores(gallery).sort(descending=True, stable=True)
        return order[:k], scores[:k]

    @property
    def units(self) -> Float[Tensor, "r d"]:
        return prepare(self.maps).rows[0, :-1].float().cpu()

    def upper_bounds(
        self, pooled: Float[Tensor, " n"], likeness: Float[Tensor, "n r r_b"], weights: Float[Tensor, "n r_b"]
    ) -> Float[Tensor, " n"]:
        mu = counted_parts(self.maps, self.weights).float().cpu()
        return (mu * likeness.amax(dim=2)).sum(dim=1) + MARGIN

    def match(self, gallery: FeatureMaps) -> Match:
        query, n = exactly(self.maps), len(gallery)
        return find_part(query[[0] * n], exactly(gallery), self.weights.expand(n, -1), self.model.matcher.eps)


@dataclass(frozen=True, eq=False, kw_only=True)
class RolloutQuery(Query):
    """An image compared with marginals from attention rollout, on both sides.

    The other image's marginals come from its own attention, which feature maps do not contain: use `match_image` or
    `match_images`.

    Attributes:
        rollout: attention rollout of the query.
        blocks: number of last blocks.
    """

    rollout: Rollout
    blocks: int

    @property
    def marginals(self) -> str:
        return f"rollout:{self.blocks}"

    def scores(self, gallery: FeatureMaps | CodedMaps) -> Float[Tensor, " n"]:
        raise _needs_images()

    def best(
        self, gallery: FeatureMaps | CodedMaps, k: int, least: float | None = None
    ) -> tuple[Int[Tensor, " k"], Float[Tensor, " k"]]:
        raise _needs_images()

    @property
    def units(self) -> Float[Tensor, "r d"]:
        raise _needs_images()

    def upper_bounds(
        self, pooled: Float[Tensor, " n"], likeness: Float[Tensor, "n r r_b"], weights: Float[Tensor, "n r_b"]
    ) -> Float[Tensor, " n"]:
        raise _needs_images()

    def match(self, gallery: FeatureMaps) -> Match:
        raise _needs_images()

    def match_images(self, images: Source | Iterable[Source]) -> Match:
        return self.match_with_rollout(images)[0]

    def match_with_rollout(self, images: Source | Iterable[Source]) -> tuple[Match, Rollout]:
        """The matches and the rollouts of the images (b), which `diml.model.spread` needs."""
        opened = [self.model.read(image) for image in as_list(images)]
        rollout = rollout_of(self.model, opened, self.blocks)
        a, b = (each.weights(self.model.grid).cpu() for each in (self.rollout, rollout))
        model = self.model.with_matcher(marginals=(a.expand(len(b), -1), b))
        return model.explain(self.maps[[0] * len(b)], model.encode(opened)), rollout


def make_query(
    model: StructuralModel,
    source: Source | FeatureMaps,
    regions: Sequence[RegionLike] = (),
    mask: Mask | None = None,
    rollout: int | None = None,
) -> Query:
    """The query that `StructuralModel.query` returns; see there."""
    if rollout is not None and (len(regions) or mask is not None):
        raise UsageError("rollout cannot be combined with regions or mask; use one of them")
    if rollout is not None and isinstance(source, FeatureMaps):
        raise UsageError("rollout needs the image itself, got feature maps; give the image")
    choice = PartChoice.of(regions, mask)
    if isinstance(source, FeatureMaps):
        maps, image = source, None
    else:
        opened = model.read(source)
        image = opened if isinstance(opened, Image.Image) else None
        if image is not None:
            choice.check(original_of(image).size)
        maps = model.encode(opened)
    _check_one(maps)
    if rollout is not None and not isinstance(source, FeatureMaps):
        given: dict[str, Any] = {"model": model, "maps": maps, "image": image, "source": source}
        return RolloutQuery(**given, rollout=rollout_of(model, [opened], rollout), blocks=rollout)
    return query_of_maps(model, maps, choice.part(maps), image, source)


def query_of_maps(
    model: StructuralModel,
    maps: FeatureMaps,
    part: QueryPart | None = None,
    image: Image.Image | None = None,
    source: Source | FeatureMaps | None = None,
) -> Query:
    """The query of an image that is embedded already, or of the part of it that was chosen.

    Raises:
        UsageError: maps of several images.
    """
    _check_one(maps)
    given: dict[str, Any] = {"model": model, "maps": maps, "image": image, "source": source}
    return WholeQuery(**given) if part is None else PartQuery(**given, part=part)


def _check_one(maps: FeatureMaps) -> None:
    if len(maps) != 1:
        raise UsageError(
            f"expected feature maps of one image as a query, got {len(maps)} images; pick one with maps[i]"
        )


def _needs_images() -> UsageError:
    return UsageError("a rollout query is compared with images, not with feature maps; use match_image(image)")
