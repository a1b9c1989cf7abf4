"""The training images: decoded, cropped and mirrored at random, and normalised for the model."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2  # type: ignore[import-untyped]

from diml.data import Collection, open_image
from diml.embedding import Preprocessing
from diml.learning.batches.seeds import derived

if TYPE_CHECKING:
    from diml.learning.run.settings import DataSettings

# Key of the seed: other random numbers of the same epoch are unrelated.
CROPS = 102


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """The images of a collection as (pixels, class), augmented.

    Every image is cropped to a random box, resized to the model's input size, and mirrored with probability 1/2. The
    box's share of the area is uniform in `data.crop_scale`, and the ratio of its sides is between 3:4 and 4:3 (Szegedy
    et al. 2015). The augmentation is derived from the seed, the epoch, the index of the image, and the number of its
    earlier occurrences in the epoch, so that resumed and distributed runs see the same pixels.

    Args:
        collection: the images, all labelled.
        preprocessing: size, interpolation and statistics of the model.
        data: crop_scale and flip, see `DataSettings`.
        seed: seed, >= 0.

    Attributes:
        classes: the class names, sorted; class k is the k-th of them.
        seed: seed of everything random.

    Raises:
        DatasetError: an image has no label.
    """

    def __init__(self, collection: Collection, preprocessing: Preprocessing, data: DataSettings, seed: int) -> None:
        labels = collection.known_labels
        self.classes = sorted(set(labels))
        places = {label: place for place, label in enumerate(self.classes)}
        self._labels = [places[label] for label in labels]
        self._members: list[list[int]] = [[] for _ in self.classes]
        for index, label in enumerate(self._labels):
            self._members[label].append(index)
        self._collection = collection
        self._preprocessing = preprocessing
        self._crop = v2.RandomResizedCrop(preprocessing.size, scale=data.crop_scale)
        self._flip, self.seed = data.flip, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next images, 0, 1, ..."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "3 h w"], int]:
        """Normalised pixels of the model's size and the class, at the first occurrence in the epoch."""
        return self.again(index, 0)

    def path(self, index: int) -> str:
        """The path of an image in the collection."""
        return self._collection.paths[index]

    def class_name(self, index: int) -> str:
        """The class of an image."""
        return self.classes[self._labels[index]]

    def alike(self, index: int) -> Sequence[int]:
        """The indices of the images of the same class, including this one."""
        return self._members[self._labels[index]]

    def indices(self, paths: Container[str]) -> frozenset[int]:
        """The indices of those of the paths that are training images."""
        wanted = frozenset(paths)
        return frozenset(i for i, path in enumerate(self._collection.paths) if path in wanted)

    def again(self, index: int, before: int, shown: int | None = None) -> tuple[Float[Tensor, "3 h w"], int]:
        """Pixels and class after `before` earlier occurrences in this epoch: every occurrence is augmented differently.

        Args:
            index: the image, which the augmentation is derived from.
            before: number of its earlier occurrences in this epoch.
            shown: another image of the class that stands in for it.

        Raises:
            ImageError: the image cannot be read.
        """
        used = self._preprocessing
        # With all its pixels, whatever the model wants: a crop of a small share of the image needs them.
        image = open_image(self._collection.file(index if shown is None else shown), used.decoding, used.bit_depth)
        with torch.random.fork_rng(devices=()):
            place = (self._epoch, index, CROPS, *([before] if before else []))
            torch.default_generator.manual_seed(derived(self.seed, *place))
            crop = self._crop.make_params([image])
            mirrored = self._flip and bool(torch.rand(()) < 0.5)
        pixels = self._cut(image, crop["left"], crop["top"], crop["width"], crop["height"])
        return self._preprocessing.normalise((pixels.flip(-1) if mirrored else pixels)[None])[0], self._labels[index]

    def _cut(self, image: Image.Image, left: int, top: int, wide: int, tall: int) -> Tensor:
        """(3, H, W) uint8; cropping and resizing in one pass over the pixels."""
        height, width = self._preprocessing.size
        kind = Image.Resampling[self._preprocessing.interpolation.upper()]
        resized = image.resize((width, height), kind, box=(left, top, left + wide, top + tall))
        values = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        return values.reshape(height, width, 3).permute(2, 0, 1)
