"""Training images: a random crop of each, mirrored at random, the same for everyone who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2  # type: ignore[import-untyped]

from diml.data import Collection, open_image
from diml.embedding import Preprocessing
from diml.learning.chance import derived

if TYPE_CHECKING:
    from diml.learning.settings import DataSettings

# Tells these random numbers from others of the same epoch.
CROPS = 102


class TrainingImages(Dataset[tuple[Tensor, int]]):
    """The images of a collection as (pixels, class), augmented.

    Every image is cut to a random box, resized to the model's input and mirrored in half of the cases. The box has a
    share of the area that is uniform in `data.crop_scale`, and a ratio of its sides between 3:4 and 4:3 (Szegedy et al.
    2015). What becomes of an image follows from the seed, the epoch, its index, and how often it has come in the epoch
    before, so that resumed and distributed runs see the same pictures whatever the workers.

    Args:
        collection: every image has a label.
        preprocessing: size, interpolation and statistics of the model.
        data: crop_scale and flip, see `DataSettings`.
        seed: >= 0.

    Attributes:
        classes: the class names, sorted; a class is told by its place among them.

    Raises:
        DatasetError: an image has no label.
    """

    def __init__(self, collection: Collection, preprocessing: Preprocessing, data: DataSettings, seed: int) -> None:
        labels = collection.known_labels
        self.classes = sorted(set(labels))
        places = {label: place for place, label in enumerate(self.classes)}
        self._labels = [places[label] for label in labels]
        self._collection = collection
        self._preprocessing = preprocessing
        self._crop = v2.RandomResizedCrop(preprocessing.size, scale=data.crop_scale)
        self._flip, self._seed = data.flip, seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next images are of, 0, 1, ..."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "3 h w"], int]:
        """Normalised pixels of the model's size, and the class, as they are when it first comes in an epoch."""
        return self.again(index, 0)

    def again(self, index: int, before: int) -> tuple[Float[Tensor, "3 h w"], int]:
        """As indexing does, of an image that has come so often in this epoch before: another picture every time.

        Raises:
            ImageError: it cannot be read.
        """
        image = open_image(self._collection.file(index))
        with torch.random.fork_rng(devices=()):
            place = (self._epoch, index, CROPS, *([before] if before else []))
            torch.default_generator.manual_seed(derived(self._seed, *place))
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
