"""The feature maps of a collection, each image embedded once, by a model that gets a head if it has none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diml.data import Collection, Skipped, printable
from diml.errors import DatasetError
from diml.evaluation.protocol import Progress
from diml.feature_maps import FeatureMaps
from diml.model import HeadFitting, StructuralModel, head_dim, storable
from diml.model.head import MOST

# Bytes of maps without a head that are held while one is fitted; of larger maps the sample is smaller.
SAMPLE_BYTES = 2**30

Block = tuple[list[int], FeatureMaps]


@dataclass(frozen=True)
class Features:
    """Feature maps of those images of a collection that could be read.

    Attributes:
        maps: of n images, float16; a pooled vector of the model's own stays float32.
        indices: which images of the collection they are, n of them, ascending.
        head: in words, what head the model had.
    """

    maps: FeatureMaps
    indices: list[int]
    head: str


@dataclass
class Embedder:
    """Embeds collections with a model, and fits its head, in place, where it has none.

    Attributes:
        model: what embeds.
        batch_size: images per pass of the backbone.
        progress: see `Progress`.
        skipped: what could not be read so far, and why.
    """

    model: StructuralModel
    batch_size: int = 32
    progress: Progress | None = None
    skipped: list[Skipped] = field(default_factory=list)

    def embed(self, evaluated: Collection, train: Collection | None, dim: int | None = None) -> Features:
        """Feature maps of the images to be evaluated, by a model that has a head if one can be fitted.

        Args:
            evaluated: the images.
            train: the training half, which a head is fitted on; without one it is `evaluated` itself, without labels.
            dim: of a head that is fitted; None for 128 or as many as the backbone has channels, 0 for no head.

        Raises:
            UsageError: a head of more numbers than the backbone has channels.
            DatasetError: not one of the images can be read.
        """
        sample: list[int] = []
        blocks: list[Block] = []
        if self.model.head_fitted:
            on = self.model.head_fitted_on
            head = "the model's own" + (f", fitted on {on}" if on else "")
        elif (dim := head_dim(dim, self.model.dim)) == 0:
            head = "none, as was asked for"
        elif train is not None:
            head = self._fit_on_train(train, dim)
        else:
            sample, blocks, head = self._fit_on_evaluated(evaluated, dim)
        remaining = sorted(set(range(len(evaluated))) - set(sample))
        blocks.extend((at, _half(maps)) for at, maps in self._stream(evaluated, remaining, "embedding", len(sample)))
        if not blocks:
            first = f", such as {self.skipped[0].reason}" if self.skipped else ""
            raise DatasetError(f"{evaluated.name}: none of its {len(evaluated)} images can be read{first}")
        return Features(*_in_order(blocks), head)

    def _fit_on_train(self, train: Collection, dim: int) -> str:
        """Fit the head, and say on what."""
        fitting = HeadFitting(dim, most=MOST)
        stream = self._stream(train, fitting.sample(len(train)), "embedding the training half")
        return self._fit(fitting, [maps.mean for _, maps in stream], len(train), f"the training half of {train.name}")

    def _fit_on_evaluated(self, evaluated: Collection, dim: int) -> tuple[list[int], list[Block], str]:
        """Fit the head; which images that took, their maps, so that none is embedded twice, and on what it was."""
        height, width = self.model.grid
        room = SAMPLE_BYTES // (4 * self.model.dim * height * width)
        fitting = HeadFitting(dim, most=min(MOST, room))
        sample = fitting.sample(len(evaluated))
        blocks = list(self._stream(evaluated, sample, "embedding", of=len(evaluated)))
        means, note = [maps.mean for _, maps in blocks], ", the evaluated ones themselves, without their labels"
        head = self._fit(fitting, means, len(evaluated), evaluated.name, note)
        return sample, [(at, _half(self._through_head(maps))) for at, maps in blocks], head

    def _fit(self, fitting: HeadFitting, means: list[Tensor], images: int, name: str, note: str = "") -> str:
        if not fitting.fit(self.model, means, images, name + note):
            dim = fitting.dim
            return f"none, as the images of {name} are fewer than the {fitting.least} that {dim} dimensions take"
        return f"PCA whitening to {self.model.dim} dimensions, fitted on {self.model.head_fitted_on}"

    def _stream(
        self, collection: Collection, which: Sequence[int], what: str, before: int = 0, of: int | None = None
    ) -> Iterator[Block]:
        """The maps of these images, without geometry, batch by batch; what cannot be read goes to `skipped`."""
        files = (collection.file(at) for at in which)
        done, total = before, before + len(which) if of is None else of
        for batch in self.model.stream(files, batch_size=self.batch_size):
            self.skipped.extend(
                Skipped(printable(collection.paths[which[place]]), str(error)) for place, error in batch.failures
            )
            done += len(batch.indices) + len(batch.failures)
            if self.progress is not None:
                self.progress(what, done, total)
            if batch.indices:
                maps = batch.maps.detach()
                yield [which[place] for place in batch.indices], FeatureMaps(maps.local, maps.grid, maps.own_pooled)

    @torch.no_grad()
    def _through_head(self, maps: FeatureMaps) -> FeatureMaps:
        head = self.model.encoder.head
        if head is None:
            return maps
        return FeatureMaps(head(maps.local), maps.grid, None if maps.own_pooled is None else head(maps.own_pooled))


def _in_order(blocks: list[Block]) -> tuple[FeatureMaps, list[int]]:
    maps = FeatureMaps.cat([maps for _, maps in blocks])
    indices = torch.tensor([index for at, _ in blocks for index in at])
    if (indices.diff() < 0).any():
        maps = maps[indices.argsort().to(maps.device)]
    return maps, indices.sort().values.tolist()


def _half(maps: FeatureMaps) -> FeatureMaps:
    """In float16, as they are stored."""
    local, pooled = storable(maps)
    return FeatureMaps(local, maps.grid, None if maps.own_pooled is None else pooled)
