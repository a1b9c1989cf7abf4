"""Batches of training images in which another image of the class stands in for one that cannot be read."""

from __future__ import annotations

import random
from collections.abc import Container, Iterator
from typing import Any

from torch.utils.data import Dataset, default_collate

from diml.errors import ImageError
from diml.learning.batches.seeds import derived
from diml.learning.batches.training_images import TrainingImages

# The epoch, the index of an image, and the number of its earlier occurrences in that epoch.
Place = tuple[int, int, int]

# Key of the seed: other random numbers of the same epoch are unrelated.
STAND_INS = 103


class ReadableBatches(Dataset[Any]):
    """From places to (pixels, labels, {path: reason} of the images that could not be read).

    The stand-in is drawn from the seed and the place among the other images of the class, those of the same batch last,
    and is augmented as the image that it stands in for: resumed and distributed runs see the same pixels.

    Args:
        images: the training images.
    """

    def __init__(self, images: TrainingImages) -> None:
        self._images = images

    def __getitem__(self, places: list[Place]) -> Any:
        """The batch, or the error as a value: an error raised in a worker arrives with a traceback as its message."""
        drawn = {index for _, index, _ in places}
        failures: dict[str, str] = {}
        try:
            items = [self._item(place, drawn, failures) for place in places]
        except ImageError as error:
            return error
        return (*default_collate(items), failures)

    def _item(self, place: Place, drawn: Container[int], failures: dict[str, str]) -> Any:
        epoch, index, before = place
        self._images.set_epoch(epoch)
        for shown in self._candidates(place, drawn):
            path = self._images.path(shown)
            if path not in failures:
                try:
                    return self._images.again(index, before, shown)
                except ImageError as error:
                    failures[path] = str(error)
        raise ImageError(
            f"none of the {len(self._images.alike(index))} training images of the class "
            f"{self._images.class_name(index)} can be read ({failures[self._images.path(index)]}); replace them, or "
            "remove the class in a new run"
        )

    def _candidates(self, place: Place, drawn: Container[int]) -> Iterator[int]:
        index = place[1]
        yield index
        others = [other for other in self._images.alike(index) if other != index]
        random.Random(derived(self._images.seed, *place, STAND_INS)).shuffle(others)
        yield from sorted(others, key=lambda other: other in drawn)
