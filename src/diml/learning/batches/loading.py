"""The batches of the current epoch in one process, decoded ahead by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from diml.errors import ImageError
from diml.learning.batches.left_out import LeftOut
from diml.learning.batches.sampling import ClassBatches
from diml.learning.batches.stand_ins import Place, ReadableBatches
from diml.learning.batches.training_images import TrainingImages


class EpochLoader:
    """The batches of the current epoch, as (pixels, labels).

    The epoch and the images to leave out are read when the first batch is requested, because Lightning creates the
    iterator before it knows the epoch of a resumed run. The epoch is sent to the workers with every index: they persist
    over all epochs and hold copies of the images' settings.

    Args:
        images: the training images.
        batches: the batches of this process.
        epoch: returns the current epoch, 0, 1, ...
        workers: processes that decode images; 0 decodes in this process.
        left_out: the images to leave out; told about those that cannot be read, for which others stand in.
    """

    def __init__(
        self, images: TrainingImages, batches: ClassBatches, epoch: Callable[[], int], workers: int, left_out: LeftOut
    ) -> None:
        self._batches = batches
        self._left_out = left_out
        self._loader = DataLoader(
            ReadableBatches(images),
            sampler=_Places(batches, epoch, lambda: images.indices(left_out.paths)),
            batch_size=None,  # an item is a whole batch
            num_workers=workers,
            # A process forked after threads were started may hang; the processes of a fork server survive a kill.
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises ImageError if no image of a class can be read, and DatasetError if too few classes remain."""
        # A generator: nothing happens before the first batch is requested.
        for batch in self._loader:
            if isinstance(batch, ImageError):
                raise batch
            pixels, labels, failures = batch
            self._left_out.note(failures)
            yield pixels, labels


class _Places:
    """The batches of an epoch as places: indices, each with its epoch and occurrence."""

    def __init__(self, batches: ClassBatches, epoch: Callable[[], int], left_out: Callable[[], frozenset[int]]) -> None:
        self.batches = batches
        self.epoch = epoch
        self.left_out = left_out

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        epoch = self.epoch()
        self.batches.set_epoch(epoch)
        self.batches.leave_out(self.left_out())
        for batch in self.batches.occasions():
            yield [(epoch, *occasion) for occasion in batch]
