"""Batches of a few images from each of a few classes, independent of the number of processes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Container, Hashable, Iterator, Sequence

from torch.utils.data import Sampler

from diml.errors import DatasetError, UsageError
from diml.learning.batches.seeds import derived

# Key of the seed: other random numbers of the same epoch are unrelated.
BATCHES = 101
# A class with fewer images has no positive pair.
FEWEST_IMAGES = 2


class ClassBatches(Sampler[list[int]]):
    """The batches of one process: lists of indices, `per_class` of each class.

    Every joint batch contains `batch / per_class` classes. A process has a share of whole classes; the shares in rank
    order are the batch of a single process. Classes are drawn in random order without repetition until all were drawn,
    and so are the images of a class; a class with fewer than `per_class` images repeats them. Classes with a single
    image, which have no positive pair, are left out. Everything is derived from the seed and the epoch.

    Args:
        labels: class of each image.
        batch: images in a joint batch, a multiple of `per_class`.
        per_class: images of each class in a batch, at least 2.
        seed: seed, >= 0.
        batches_per_epoch: None for as many as the images fill, at least 1.
        rank: rank of this process, 0 .. world - 1.
        world: number of processes.

    Attributes:
        classes: number of classes that take part.
        left_out: number of images that are the only one of their class.
        notice: one sentence about the images left out; None if there are none.

    Raises:
        DatasetError: fewer classes than a batch needs.
        UsageError: the batch does not consist of whole classes in every process.

    >>> batches = ClassBatches(["cat", "cat", "dog", "dog", "dog", "owl"], batch=4, per_class=2, seed=0)
    >>> batches.notice
    '1 image is left out of the training, the only one of its class'
    >>> [sorted(batch)[:2] for batch in batches]
    [[0, 1]]
    """

    def __init__(
        self,
        labels: Sequence[Hashable],
        batch: int,
        per_class: int,
        seed: int,
        batches_per_epoch: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        sizes = Counter(labels)
        members: dict[Hashable, list[int]] = {label: [] for label, size in sizes.items() if size >= FEWEST_IMAGES}
        for index, label in enumerate(labels):
            if label in members:
                members[label].append(index)
        _check(len(members), batch, per_class, world)
        if not 0 <= rank < world:
            raise UsageError(f"expected rank 0 to {world - 1} of {world} processes, got {rank}")
        self.classes = len(members)
        self.left_out = len(sizes) - len(members)
        self._all = self._members = list(members.values())
        self._classes, self._per_class, self._seed = batch // per_class, per_class, seed
        share = self._classes // world
        self._own = slice(rank * share, (rank + 1) * share)
        images = sum(map(len, self._members))
        self._length = max(1, images // batch) if batches_per_epoch is None else batches_per_epoch
        self._epoch = 0

    @property
    def notice(self) -> str | None:
        if not self.left_out:
            return None
        said = "1 image is" if self.left_out == 1 else f"{self.left_out} images are"
        return f"{said} left out of the training, the only one of {'its' if self.left_out == 1 else 'their'} class"

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration, 0, 1, ..."""
        self._epoch = epoch

    def leave_out(self, indices: Container[int]) -> None:
        """Set the images that no further iteration draws; a class with fewer than two others is left out as well.

        Neither the length of an epoch nor `classes` changes.

        Raises:
            DatasetError: fewer classes than a batch needs.
        """
        kept = [[index for index in members if index not in indices] for members in self._all]
        self._members = [members for members in kept if len(members) >= FEWEST_IMAGES]
        if len(self._members) < self._classes:
            raise DatasetError(
                f"{len(self._members)} training classes still have two images that can be read, and a batch of "
                f"{self._classes * self._per_class} with {self._per_class} of each class needs {self._classes}; "
                "restore the images, or begin a new run with a smaller data.batch"
            )

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.occasions():
            yield [index for index, _ in batch]

    def occasions(self) -> Iterator[list[tuple[int, int]]]:
        """The batches, each index with the number of its earlier occurrences in this epoch, in any process."""
        before: Counter[int] = Counter()
        chance = random.Random(derived(self._seed, self._epoch, BATCHES))
        classes = _Deck(range(len(self._members)), chance)
        images = [_Deck(members, chance) for members in self._members]
        for _ in range(self._length):
            # All processes draw the whole batch, so that they agree, and keep their share.
            drawn = [images[one].draw(self._per_class) for one in classes.draw(self._classes)]
            counted = [[_counted(index, before) for index in indices] for indices in drawn]
            yield [occasion for occasions in counted[self._own] for occasion in occasions]


def _counted(index: int, before: Counter[int]) -> tuple[int, int]:
    before[index] += 1
    return index, before[index] - 1


class _Deck:
    """A deck of cards: drawn in random order, without repetition until all were drawn."""

    def __init__(self, cards: Sequence[int], chance: random.Random) -> None:
        self._cards, self._chance = cards, chance
        self._left: list[int] = []

    def draw(self, count: int) -> list[int]:
        """Draw `count` cards, all different if the deck has that many."""
        hand: list[int] = []
        while len(hand) < count:
            if not self._left:
                self._left = self._chance.sample(self._cards, len(self._cards))
                # Cards already in the hand go to the bottom.
                self._left.sort(key=lambda card: card not in hand)
            hand.append(self._left.pop())
        return hand


def _check(classes: int, batch: int, per_class: int, world: int) -> None:
    if per_class < 2 or batch < 1 or batch % per_class:
        raise UsageError(
            f"expected a multiple of at least 2 images per class as the batch, got {batch} with {per_class} per class"
        )
    wanted = batch // per_class
    if classes < wanted:
        enough = f"set data.batch={classes * per_class}" if classes > 1 else "add classes"
        raise DatasetError(
            f"{classes} training classes have two images or more, and a batch of {batch} with {per_class} of each "
            f"class needs {wanted}; {enough}"
        )
    if wanted % world:
        raise UsageError(
            f"a batch of {batch} with {per_class} of each class is {wanted} classes, which cannot be shared evenly "
            f"among {world} processes; set data.batch to a multiple of {per_class * world}"
        )
