"""The batches of a process, epoch by epoch, decoded ahead by worker processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from diml.errors import ImageError

# The epoch, the index of an image, and how often it has come in that epoch before.
Place = tuple[int, int, int]
Item = tuple[Tensor, int] | ImageError


class Images(Protocol):
    """Augmented images that follow from their place alone."""

    def set_epoch(self, epoch: int) -> None: ...

    def again(self, index: int, before: int) -> tuple[Tensor, int]: ...


class Batches(Protocol):
    """Lists of indices, each with how often it has come before, that follow from the epoch alone."""

    def set_epoch(self, epoch: int) -> None: ...

    def occasions(self) -> Iterator[list[tuple[int, int]]]: ...

    def __len__(self) -> int: ...


class EpochLoader:
    """The batches of the epoch that training has come to, as (pixels, labels).

    The epoch is looked up when the first batch is asked for, since Lightning makes its iterator before it knows where a
    resumed run stands. It goes to the workers with every index: they live through all epochs and hold copies of the
    images' settings.

    Args:
        images: see `Images`.
        batches: see `Batches`.
        epoch: tells the epoch, 0, 1, ...
        workers: processes that decode; 0 decodes here.
    """

    def __init__(self, images: Images, batches: Batches, epoch: Callable[[], int], workers: int) -> None:
        self._batches = batches
        self._epoch = epoch
        self._loader = DataLoader(
            _Placed(images),
            batch_sampler=_Places(batches, epoch),
            collate_fn=_batch,
            num_workers=workers,
            # A process that is forked after threads were started may hang; one of a fork server outlives a kill.
            multiprocessing_context="spawn" if workers else None,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Raises ImageError for the first image that cannot be read."""
        # A generator: nothing happens before the first batch is asked for.
        for batch in self._loader:
            if isinstance(batch, ImageError):
                raise batch
            yield batch


class _Placed(Dataset[Item]):
    def __init__(self, images: Images) -> None:
        self.images = images

    def __getitem__(self, place: Place) -> Item:
        """An error is handed over, as one that a worker raises comes with a traceback for its message."""
        epoch, index, before = place
        self.images.set_epoch(epoch)
        try:
            return self.images.again(index, before)
        except ImageError as error:
            return error


def _batch(items: list[Item]) -> Any:
    """The first error among them, or all of them as two tensors."""
    return next((item for item in items if isinstance(item, ImageError)), None) or default_collate(items)


class _Places:
    """Indices, each with its epoch and occasion."""

    def __init__(self, batches: Batches, epoch: Callable[[], int]) -> None:
        self.batches = batches
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Place]]:
        epoch = self.epoch()
        self.batches.set_epoch(epoch)
        for batch in self.batches.occasions():
            yield [(epoch, *occasion) for occasion in batch]
