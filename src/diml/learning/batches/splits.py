"""Training, validation and test classes of a labelled collection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from collections.abc import Collection as Container
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.data import Collection, printable
from diml.errors import DatasetError, UsageError

if TYPE_CHECKING:
    from diml.learning.run.settings import DataSettings

TRAIN, VALIDATION = "train", "validation"
TESTS = ("test", "query", "gallery")
# With one class, every neighbour is correct.
FEWEST_CLASSES = 2


@dataclass(frozen=True)
class Splits:
    """Training, validation and test part of a collection.

    Attributes:
        train: the images to train on.
        validation: images of other classes, which choose the best epoch; None for none.
        test: the images measured once, at the end; None if the collection has no such part.
    """

    train: Collection
    validation: Collection | None
    test: Collection | None

    @property
    def notice(self) -> str | None:
        """One sentence if training classes are also in the validation or test part; otherwise None."""
        learned = set(self.train.known_labels)
        found = []
        for what, part in ((VALIDATION, self.validation), ("test", self.test)):
            classes = set() if part is None else set(part.known_labels)
            if both := sorted(classes & learned):
                found.append(f"{len(both)} of the {len(classes)} {what} classes, such as {printable(both[0])}")
        if not found:
            return None
        return f"{', and '.join(found)}, are also training classes: the results are not those of unseen classes only"


def split_collection(collection: Collection, data: DataSettings) -> Splits:
    """Split a collection into training, validation and test part.

    A collection with splits keeps them: "train", "test" (or "query" and "gallery"), and optionally "validation"; a
    class may occur in several, see `Splits.notice`. A collection without splits is divided as is usual in metric
    learning: the first half of the sorted class names for training, the second half for testing.

    If there is no validation part, a share `data.validation` of the training *classes* becomes one. The classes are
    drawn by a hash of `data.split_seed` and their name: the draw is the same on every machine and does not change when
    images are added.

    Args:
        collection: a labelled collection, as `open_dataset` returns it.
        data: see `DataSettings`.

    Raises:
        DatasetError: an image without a label, splits with other names, or too few classes.
        UsageError: a share of validation classes that leaves fewer than two for validation or training.

    >>> from pathlib import Path
    >>> from diml.learning.run.settings import DataSettings
    >>> paths = [f"{label}/{i}.png" for label in "abcdefgh" for i in range(2)]
    >>> animals = Collection(Path("animals"), paths, [path[0] for path in paths])
    >>> splits = split_collection(animals, DataSettings(spec="animals", validation=0.5))
    >>> [sorted(set(part.labels)) for part in (splits.train, splits.validation, splits.test)]
    [['b', 'c'], ['a', 'd'], ['e', 'f', 'g', 'h']]
    """
    labels = collection.known_labels
    if collection.splits is None:
        classes = sorted(set(labels))
        if len(classes) < 2 * FEWEST_CLASSES:
            raise DatasetError(
                f"{collection.name}: has {len(classes)} classes and no splits; expected at least "
                f"{2 * FEWEST_CLASSES}: the first half is for training, the second half for testing"
            )
        first = set(classes[: len(classes) // 2])
        splits = [TRAIN if label in first else "test" for label in labels]
    else:
        splits = collection.splits
        _check(collection, splits)

    def part(names: Container[str]) -> Collection | None:
        found = [i for i, split in enumerate(splits) if split in names]
        return collection.subset(found) if found else None

    train, validation = part((TRAIN,)), part((VALIDATION,))
    assert train is not None
    if validation is None and data.validation > 0:
        train, validation = _hold_out(train, data.validation, data.split_seed)
    return Splits(train, validation, part(TESTS))


def _check(collection: Collection, splits: list[str]) -> None:
    strange = sorted(set(splits) - {TRAIN, VALIDATION, *TESTS})
    if strange or TRAIN not in splits:
        wrong = f"a split {printable(strange[0])}" if strange else f"no split {TRAIN}"
        raise DatasetError(
            f"{collection.name}: has {wrong}; expected {TRAIN} and test (or query and gallery), and optionally "
            f"{VALIDATION}"
        )


def _hold_out(train: Collection, share: float, seed: int) -> tuple[Collection, Collection]:
    labels = train.known_labels
    classes = sorted(set(labels), key=_drawn_by(seed))
    count = max(FEWEST_CLASSES, round(share * len(classes)))
    if len(classes) - count < FEWEST_CLASSES:
        raise UsageError(
            f"expected at least {FEWEST_CLASSES} validation and {FEWEST_CLASSES} training classes, got "
            f"data.validation = {share:g} of the {len(classes)} training classes of {train.name}; set "
            "data.validation=0 or add classes"
        )
    held = set(classes[:count])
    kept = train.subset(i for i, label in enumerate(labels) if label not in held)
    return kept, train.subset(i for i, label in enumerate(labels) if label in held)


def _drawn_by(seed: int) -> Callable[[str], str]:
    return lambda label: hashlib.sha256(f"{seed}:{label}".encode("utf-8", "surrogatepass")).hexdigest()
