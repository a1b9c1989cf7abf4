"""All pairs of images of an index that are at least so similar, found exactly and given as they are found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Match, Matcher, UnitMaps, prepare
from diml.model import StructuralModel
from diml.search.pairs.candidates import candidate_blocks
from diml.search.pairs.estimate import PairsEstimate, estimated
from diml.search.pairs.found import BACKWARD, FORWARD, Pair
from diml.search.pairs.map_blocks import MapBlocks
from diml.search.pairs.sieve import Sieve
from diml.search.pairs.vectors import Vectors
from diml.search.read_state import Opened
from diml.search.stored_maps import stored_maps
from diml.search.stored_rows import StoredRows

# Pairs that are solved together.
CHUNK = 256


@dataclass
class Counts:
    """How many pairs passed each step of the last run so far.

    Attributes:
        candidates: by their pooled vectors.
        bounded: by their structural bound.
        solved: by their similarity in float32; these were solved exactly.
        found: those at least so similar.
    """

    candidates: int = 0
    bounded: int = 0
    solved: int = 0
    found: int = 0


class Pairs:
    """The unordered pairs of images whose similarity is at least `above`; see `Index.pairs`.

    Iterating finds them, from the beginning each time: by blocks of images in the order of their paths, within two
    blocks by the path of a, then of b. The images are those that were stored when it first began.

    Attributes:
        counts: of the last run.

    Raises:
        UsageError: a threshold out of its range, or a matcher with weights for the parts of given images.
    """

    def __init__(
        self, opened: Opened[StoredRows] | None, model: StructuralModel, above: float, where: str | None
    ) -> None:
        self.model, self.above, self.where = model, check_above(above), where
        if isinstance(model.matcher.marginals, tuple):
            raise UsageError(
                "expected marginals by name or as a function to compare all pairs, got weights of given images; "
                "leave them out"
            )
        self.counts = Counts()
        self._opened = opened

    @cached_property
    def vectors(self) -> Vectors:
        """The images that are compared.

        Raises:
            UsageError: a condition that cannot be used.
        """
        if self._opened is None:
            return Vectors([], [], torch.empty(0, 1))
        return Vectors.read(self._opened.store, self._opened.manifest, self.where)

    @cached_property
    def blocks(self) -> MapBlocks:
        """Their feature maps."""
        assert self._opened is not None
        return MapBlocks(self._opened.store, self._opened.manifest, self.vectors.ids)

    @property
    def name(self) -> str:
        """The name of the index's folder, or of several; empty before it is made."""
        return "" if self._opened is None else self._opened.store.title

    @property
    def matcher(self) -> Matcher:
        """How images are compared."""
        return self.model.matcher

    @property
    def sieve(self) -> Sieve:
        return Sieve(self.matcher, self.above, self.vectors.pooled.shape[1])

    def estimate(self) -> PairsEstimate:
        """How many pairs there are, and how long they take, extrapolated from a sample of the images."""
        return estimated(self)

    def match(self, pair: Pair) -> Match:
        """The match of the two images, in the order in which they were compared."""
        assert self._opened is not None
        manifest, store = self._opened
        maps = stored_maps(store.rows_in_order(pair.compared_ids), manifest, store.codec)
        return self.model.explain(maps[0], maps[1])

    def thumbnails(self, paths: Sequence[str]) -> list[bytes]:
        """Small JPEGs of images that are compared, by their paths; empty for features without an image file.

        Raises:
            StoreError: one of them is not stored any more.
        """
        assert self._opened is not None
        ids = [self._ids[path] for path in paths]
        thumbnails: list[bytes] = self._opened.store.rows_in_order(ids, ["thumbnail"])["thumbnail"].to_pylist()
        return thumbnails

    @cached_property
    def _ids(self) -> dict[str, str]:
        return dict(zip(self.vectors.paths, self.vectors.ids, strict=True))

    def __iter__(self) -> Iterator[Pair]:
        self.counts = Counts()
        if len(self.vectors) < 2:
            return
        sieve, side = self.sieve, self.blocks.side
        for block in candidate_blocks(self.vectors.pooled, sieve.least_pooled, side):
            images = block.images
            maps = self.blocks.maps(images)
            units = self.units(images, maps)
            for i, j in block.pieces():
                yield from self._found(sieve, images, maps, units, i, j)

    def _found(
        self, sieve: Sieve, images: Tensor, maps: FeatureMaps, units: UnitMaps, i: Tensor, j: Tensor
    ) -> Iterator[Pair]:
        """Those of some candidates that are found; `maps` and `units` are of `images`."""
        at_i, at_j = torch.searchsorted(images, i), torch.searchsorted(images, j)
        self.counts.candidates += len(i)
        for count, passes in (("bounded", sieve.not_bounded), ("solved", sieve.undecided)):
            keep = passes(units, at_i, at_j)
            i, j, at_i, at_j = i[keep], j[keep], at_i[keep], at_j[keep]
            setattr(self.counts, count, getattr(self.counts, count) + len(i))
        for start in range(0, len(i), CHUNK):
            part = slice(start, start + CHUNK)
            for pair in self.solved(maps[at_i[part]], maps[at_j[part]], i[part], j[part]):
                if pair.similarity >= self.above:
                    self.counts.found += 1
                    yield pair

    def units(self, images: Int[Tensor, " k"], maps: FeatureMaps) -> UnitMaps:
        """The maps of some images, by their numbers, prepared for matching with the pooled vectors at hand."""
        return prepare(maps.replace(pooled=self.vectors.pooled[images]))

    def solved(
        self, maps_a: FeatureMaps, maps_b: FeatureMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
    ) -> Iterator[Pair]:
        """Pairs with their exact numbers, whatever they are; one-sided, those of the better order."""
        one_way = _numbers(self.model.explain(maps_a, maps_b))
        directions: list[str | None] = [None] * len(one_way)
        if not self.matcher.symmetric:
            other = _numbers(self.model.explain(maps_b, maps_a))
            directions = [FORWARD if a[0] >= b[0] else BACKWARD for a, b in zip(one_way, other, strict=True)]
            one_way = [max(a, b, key=lambda each: each[0]) for a, b in zip(one_way, other, strict=True)]
        ids, paths = self.vectors.ids, self.vectors.paths
        for a, b, numbers, direction in zip(i.tolist(), j.tolist(), one_way, directions, strict=True):
            yield Pair(paths[a], paths[b], *numbers, direction, ids[a], ids[b], self)


def check_above(above: float) -> float:
    """The threshold, as a float.

    Raises:
        UsageError: it is not a number above -1 and up to 1.

    >>> check_above(1)
    1.0
    """
    try:
        number = math.nan if isinstance(above, str) else float(above)
    except (TypeError, ValueError):
        number = math.nan
    if not -1 < number <= 1:
        raise UsageError(f"expected a similarity above -1 and up to 1 that pairs must reach, got {above!r}; try 0.9")
    return number


def _numbers(match: Match) -> list[tuple[float, float, float]]:
    columns = (each.tolist() for each in (match.similarity, match.structural, match.pooled))
    return list(zip(*columns, strict=True))
