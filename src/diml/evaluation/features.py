"""The feature maps of a collection: each image is embedded once, and a head is fitted for a model without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from diml.data import Collection, Skipped, printable
from diml.errors import DatasetError
from diml.evaluation.protocol import Progress
from diml.feature_maps import FeatureMaps
from diml.model import Fitting, HeadFitting, StructuralModel, head_dim, storable
from diml.model.fitting import IMAGES
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

        Weights of parts that depend on a collection are fitted on the same sample, after the head, if the model's are
        not fitted yet, or were fitted without this head.

        Args:
            evaluated: the images.
            train: the training half, on which a head is fitted; without it `evaluated` is used, without labels.
            dim: outputs of the head that is fitted, by default 128 or, if there are fewer, the backbone's channels; 0
                for no head.

        Raises:
            UsageError: dim is larger than the number of the backbone's channels.
            DatasetError: none of the images can be read.
        """
        own, room = self.model.head_fitted, self._room(train is None)
        dim = 0 if own else head_dim(dim, self.model.dim)
        head = HeadFitting(dim, most=min(MOST, room)) if dim else None
        fitting = Fitting(self.model, head, most=min(IMAGES, room))
        if train is not None:
            name = f"the training half of {train.name}"
            headed, blocks = self._fit_on_train(fitting, train, name), list[Block]()
        else:
            name = evaluated.name
            headed, blocks = self._fit_on_evaluated(fitting, evaluated)
        words = self._own_head() if own else self._head_words(headed, head, name)
        sample = fitting.sampled if train is None else []
        remaining = sorted(set(range(len(evaluated))) - set(sample))
        rest = self._stream(self.model, evaluated, remaining, "embedding", len(sample))
        blocks.extend((at, _half(maps)) for at, maps in rest)
        if not blocks:
            first = f", such as {self.skipped[0].reason}" if self.skipped else ""
            raise DatasetError(f"{evaluated.name}: none of its {len(evaluated)} images can be read{first}")
        return Features(*_in_order(blocks), words)

    def _room(self, held: bool) -> int:
        """The largest sample, smaller for large maps where these are held while it is embedded."""
        height, width = self.model.grid
        return max(1, SAMPLE_BYTES // (4 * self.model.encoder.channels * height * width)) if held else MOST

    def _fit_on_train(self, fitting: Fitting, train: Collection, name: str) -> bool:
        """Returns whether a head was fitted."""
        sample = fitting.sample(len(train))
        for _, maps in self._stream(fitting.bare, train, sample, "embedding the training half"):
            fitting.take(maps)
        return fitting.finish(len(train), name, self._unread())

    def _fit_on_evaluated(self, fitting: Fitting, evaluated: Collection) -> tuple[bool, list[Block]]:
        """Returns whether a head was fitted, and the maps of the sample, which are not embedded again."""
        sample = fitting.sample(len(evaluated))
        blocks = list(self._stream(fitting.bare, evaluated, sample, "embedding", of=len(evaluated)))
        for _, maps in blocks:
            fitting.take(maps)
        said = f"{evaluated.name}, the evaluated images themselves, without their labels"
        headed = fitting.finish(len(evaluated), said, self._unread())
        with torch.no_grad():
            return headed, [(at, _half(self.model.encoder.finished(maps))) for at, maps in blocks]

    def _unread(self) -> str:
        return self.skipped[0].reason if self.skipped else ""

    def _own_head(self) -> str:
        on = self.model.head_fitted_on
        return "the model's own" + (f", fitted on {on}" if on else "")

    def _head_words(self, fitted: bool, head: HeadFitting | None, name: str) -> str:
        if head is None:
            return "none, as requested"
        if not fitted:
            return f"none, as {head.dim} dimensions take at least {head.least} images, and {name} has fewer"
        return f"PCA whitening to {self.model.dim} dimensions, fitted on {self.model.head_fitted_on}"

    def _stream(
        self,
        model: StructuralModel,
        collection: Collection,
        which: Sequence[int],
        what: str,
        before: int = 0,
        of: int | None = None,
    ) -> Iterator[Block]:
        """The maps of these images, without geometry, in batches; images that cannot be read are added to `skipped`."""
        files = (collection.file(at) for at in which)
        done, total = before, before + len(which) if of is None else of
        for batch in model.stream(files, batch_size=self.batch_size):
            self.skipped.extend(
                Skipped(printable(collection.paths[which[place]]), str(error)) for place, error in batch.failures
            )
            done += len(batch.indices) + len(batch.failures)
            if self.progress is not None:
                self.progress(what, done, total)
            if batch.indices:
                yield [which[place] for place in batch.indices], batch.maps.detach().replace(geometry=None)


def _in_order(blocks: list[Block]) -> tuple[FeatureMaps, list[int]]:
    maps = FeatureMaps.cat([maps for _, maps in blocks])
    indices = torch.tensor([index for at, _ in blocks for index in at])
    if (indices.diff() < 0).any():
        maps = maps[indices.argsort().to(maps.device)]
    return maps, indices.sort().values.tolist()


def _half(maps: FeatureMaps) -> FeatureMaps:
    """In float16, as an index stores them."""
    local, pooled = storable(maps)
    return maps.replace(local=local, pooled=None if maps.own_pooled is None else pooled)
