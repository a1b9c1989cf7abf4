"""Fitting what a model lacks, a head and weights of parts, on one sample of a collection."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from diml.embedding.part_weights import MOST as PARTS
from diml.embedding.part_weights import depends_on_collection
from diml.errors import DatasetError, ImageError
from diml.feature_maps import FeatureMaps

if TYPE_CHECKING:
    from diml.data.located import Located
    from diml.model.head import HeadFitting
    from diml.model.structural import StructuralModel

# Images whose parts weights are fitted on, where no head is fitted on more.
IMAGES = 1000


@dataclass
class Fitting:
    """Fits a model, in place, on a sample of a collection that is embedded once: first the head, then the weights.

    1. `sample` says which images to embed; none if there is nothing to fit.
    2. Embed these with `bare`, and pass the maps to `take`, batch by batch in this order.
    3. `finish` fits.

    Attributes:
        model: the model, without a head if one is to be fitted.
        head: how to fit a head; None for none.
        most: largest number of images in the sample where only weights are fitted.
        seed: of the sample of images and parts for the weights.
        sampled: what `sample` said.

    >>> from diml.model import StructuralModel
    >>> model = StructuralModel.wrap(torch.nn.Conv2d(3, 8, 32, 32)).with_weights("rarity")
    >>> fitting = Fitting(model)
    >>> fitting.sample(3)
    [0, 1, 2]
    >>> fitting.take(fitting.bare.encode(torch.rand(3, 3, 64, 64)))
    >>> fitting.finish(3, "noise"), model.weights_fitted_on
    (False, '3 of the 3 images of noise')
    """

    model: StructuralModel
    head: HeadFitting | None = None
    most: int = IMAGES
    seed: int = 0
    sampled: list[int] = field(default_factory=list)
    _means: list[Float[Tensor, "n c"]] = field(default_factory=list)
    _parts: list[Float[Tensor, "k c"]] = field(default_factory=list)
    _taken: int = 0

    @property
    def bare(self) -> StructuralModel:
        """The model whose maps are fitted on: without head and weights, which `Encoder.finished` applies afterwards."""
        return self.model.replace(encoder=self.model.encoder.replace(head=None, weights=None))

    @property
    def _weights(self) -> bool:
        """Whether weights have to be fitted, now or after a new head."""
        depends = depends_on_collection(self.model.encoder.weights)
        return depends and (self.head is not None or not self.model.weights_ready)

    def sample(self, images: int) -> list[int]:
        """Indices of the images to fit on, ascending.

        Raises:
            UsageError: there are too few, and the head is required.
        """
        chosen = [] if self.head is None else self.head.sample(images)
        if not chosen and not self.model.weights_ready:
            chosen = sorted(random.Random(self.seed).sample(range(images), min(images, self.most)))
        self.sampled = chosen
        return chosen

    def take(self, maps: FeatureMaps) -> None:
        """Keep of the maps of `bare` what is fitted on: their means, and some random parts of each image."""
        if self.head is not None:
            self._means.append(maps.mean)
        if self._weights:
            # Twice the parts that are needed, as some images cannot be read and some parts are empty.
            each = min(maps.parts, math.ceil(2 * PARTS / max(1, len(self.sampled))))
            for local in maps.local.detach():
                drawn = random.Random(f"{self.seed} {self._taken}").sample(range(maps.parts), each)
                self._parts.append(local[sorted(drawn)])
                self._taken += 1
        else:
            self._taken += len(maps)

    def finish(self, images: int, name: str, unread: str = "") -> bool:
        """Fit, and return whether there is a new head.

        Args:
            images: number of images in the collection.
            name: name of the collection, for the descriptions that are stored with the model.
            unread: why the first image of the sample could not be read, if one could not.

        Raises:
            UsageError: too few images for a required head, or images that are all alike.
            DatasetError: no image to fit weights on could be read.
        """
        headed = self.head is not None and self.head.fit(self.model, self._means, images, name)
        if not self.model.weights_ready:
            if not self._parts:
                first = f"; the first: {unread}" if unread else ""
                raise DatasetError(
                    f"none of the {len(self.sampled)} images that the weights {self.model.weights} are to be fitted on "
                    f"can be read{first}"
                )
            parts = torch.cat(self._parts)[:, None].to(self.model.encoder.device)
            maps = self.model.encoder.replace(weights=None).finished(FeatureMaps(parts, (1, 1)))
            self.model.fit_weights(maps, on=f"{self._taken} of the {images} images of {name}", seed=self.seed)
        return headed

    def files(
        self,
        files: Sequence[Path | Located],
        name: str,
        progress: Callable[[int, int], None] | None = None,
        unread: dict[int, ImageError] | None = None,
    ) -> bool:
        """All three steps, on image files; see `finish`.

        Args:
            progress: called with the number of images done and the number in total.
            unread: receives the images that cannot be read, by their place in `files`; None if all must be readable.

        Raises:
            ImageError: for the first image that cannot be read, if all must be readable.
        """
        which, done = self.sample(len(files)), 0
        for batch in self.bare.stream(files[at] for at in which):
            if batch.failures and unread is None:
                raise batch.failures[0][1]
            if unread is not None:
                unread.update((which[place], error) for place, error in batch.failures)
            if batch.indices:
                self.take(batch.maps)
            done += len(batch.indices) + len(batch.failures)
            if progress is not None:
                progress(done, len(which))
        return self.finish(len(files), name, str(next(iter(unread.values()))) if unread else "")
