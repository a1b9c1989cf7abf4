"""The feature maps of a collection: each image is embedded once, and a head is fitted for a model without one."""

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

# Bytes of maps that are held while a head is fitted; for larger maps the sample is smaller.
SAMPLE_BYTES = 2**30

Block = tuple[list[int], FeatureMaps]


@dataclass(frozen=True)
class Features:
    """Feature maps of the images of a collection that could be read.

    Attributes:
        maps: of n images, float16; the model's own pooled vector, if any, stays float32.
        indices: positions of these n images in the collection, ascending.
        head: a description of the model's head.
    """

    maps: FeatureMaps
    indices: list[int]
    head: str


@dataclass
class Embedder:
    """Embeds collections with a model, and fits a head, in place, for a model without one.

    Attributes:
        model: the model.
        batch_size: images per pass of the backbone.
        progress: see `Progress`.
        skipped: images that could not be read so far, and why.
    """

    model: StructuralModel
    batch_size: int = 32
    progress: Progress | None = None
    skipped: list[Skipped] = field(default_factory=list)

    def embed(self, evaluated: Collection, train: Collection | None, dim: int | None = None) -> Features:
        """Feature maps of the images to be evaluated; a head is fitted first if the model has none and one can be.

        Args:
            evaluated: the images.
            train: the training half, on which a head is fitted; without it `evaluated` is used, without labels.
            dim: outputs of the head that is fitted, by default 128 or, if there are fewer, the backbone's channels; 0
                for no head.

        Raises:
            UsageError: dim is larger than the number of the backbone's channels.
            DatasetError: none of the images can be read.
        """
        sample: list[int] = []
        blocks: list[Block] = []
        if self.model.head_fitted:
            on = self.model.head_fitted_on
            head = "the model's own" + (f", fitted on {on}" if on else "")
        elif (dim := head_dim(dim, self.model.dim)) == 0:
            head = "none, as requested"
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
        """Fit the head; returns its description."""
        fitting = HeadFitting(dim, most=MOST)
        stream = self._stream(train, fitting.sample(len(train)), "embedding the training half")
        return self._fit(fitting, [maps.mean for _, maps in stream], len(train), f"the training half of {train.name}")

    def _fit_on_evaluated(self, evaluated: Collection, dim: int) -> tuple[list[int], list[Block], str]:
        """Fit the head; returns the sample of images, their maps, which are not embedded again, and the description."""
        height, width = self.model.grid
        room = SAMPLE_BYTES // (4 * self.model.dim * height * width)
        fitting = HeadFitting(dim, most=min(MOST, room))
        sample = fitting.sample(len(evaluated))
        blocks = list(self._stream(evaluated, sample, "embedding", of=len(evaluated)))
        means, note = [maps.mean for _, maps in blocks], ", the evaluated images themselves, without their labels"
        head = self._fit(fitting, means, len(evaluated), evaluated.name, note)
        return sample, [(at, _half(self._through_head(maps))) for at, maps in blocks], head

    def _fit(self, fitting: HeadFitting, means: list[Tensor], images: int, name: str, note: str = "") -> str:
        if not fitting.fit(self.model, means, images, name + note):
            dim = fitting.dim
            return f"none, as {dim} dimensions take at least {fitting.least} images, and {name} has fewer"
        return f"PCA whitening to {self.model.dim} dimensions, fitted on {self.model.head_fitted_on}"

    def _stream(
        self, collection: Collection, which: Sequence[int], what: str, before: int = 0, of: int | None = None
    ) -> Iterator[Block]:
        """The maps of these images, without geometry, in batches; images that cannot be read are added to `skipped`."""
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
    """In float16, as an index stores them."""
    local, pooled = storable(maps)
    return FeatureMaps(local, maps.grid, None if maps.own_pooled is None else pooled)
