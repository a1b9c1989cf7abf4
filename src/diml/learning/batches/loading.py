"""The training images of a process, batch by batch: augmented, and decoded ahead by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate
from torchvision.transforms import v2  # type: ignore[import-untyped]

from diml.data import Collection, open_image
from diml.embedding import Preprocessing
from diml.errors import ImageError
from diml.learning.batches.sampling import ClassBatches
from diml.learning.batches.seeds import derived

if TYPE_CHECKING:
    from diml.learning.run.settings import DataSettings

# The epoch, the index of an image, and the number of its earlier occurrences in that epoch.
Place = tuple[int, int, int]
Item = tuple[Tensor, int] | ImageError


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
        """Set the epoch of the next images, 0, 1, ..."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Float[Tensor, "3 h w"], int]:
        """Normalised pixels of the model's size and the class, at the first occurrence in the epoch."""
        return self.again(index, 0)

    def again(self, index: int, before: int) -> tuple[Float[Tensor, "3 h w"], int]:
        """Pixels and class after `before` earlier occurrences in this epoch: every occurrence is augmented differently.

        Raises:
            ImageError: the image cannot be read.
        """
        used = self._preprocessing
        image = open_image(self._collection.file(index), used.decoding, used.bit_depth)
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


class EpochLoader:
    """The batches of the current epoch, as (pixels, labels).

    The epoch is read when the first batch is requested, because Lightning creates the iterator before it knows the
    epoch of a resumed run. It is sent to the workers with every index: they persist over all epochs and hold copies of
    the images' settings.

    Args:
        images: the training images.
        batches: the batches of this process.
        epoch: returns the current epoch, 0, 1, ...
        workers: processes that decode images; 0 decodes in this process.
    """

    def __init__(self, images: TrainingImages, batches: ClassBatches, epoch: Callable[[], int], workers: int) -> None:
        self._batches = batches
        self._epoch = epoch
        self._loader = DataLoader(
            _Placed(images),
            batch_sampler=_Places(batches, epoch),
            collate_fn=_batch,
            num_workers=workers,
            # A process forked after threads were started may hang; the processes of a fork server survive a kill.
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises ImageError for the first image that cannot be read."""
        # A generator: nothing happens before the first batch is requested.
        for batch in self._loader:
            if isinstance(batch, ImageError):
                raise batch
            yield batch


class _Placed(Dataset[Item]):
    def __init__(self, images: TrainingImages) -> None:
        self.images = images

    def __getitem__(self, place: Place) -> Item:
        """The item, or the error as a value: an error raised in a worker arrives with a traceback as its message."""
        epoch, index, before = place
        self.images.set_epoch(epoch)
        try:
            return self.images.again(index, before)
        except ImageError as error:
            return error


def _batch(items: list[Item]) -> Any:
    """The first error among the items, or all items as two tensors."""
    return next((item for item in items if isinstance(item, ImageError)), None) or default_collate(items)


class _Places:
    """Indices, each with its epoch and occurrence."""

    def __init__(self, batches: ClassBatches, epoch: Callable[[], int]) -> None:
        self.batches = batches
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        epoch = self.epoch()
        self.batches.set_epoch(epoch)
        for batch in self.batches.occasions():
            yield [(epoch, *occasion) for occasion in batch]
