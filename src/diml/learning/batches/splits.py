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
# With one class every neighbour is right.
FEWEST_CLASSES = 2


@dataclass(frozen=True)
class Splits:
    """The parts of a collection, by class.

    Attributes:
        train: what is learned from.
        validation: what chooses the checkpoint, of other classes than `train`; None for none.
        test: what is measured once, at the end; None where the collection has no such part.
    """

    train: Collection
    validation: Collection | None
    test: Collection | None

    @property
    def notice(self) -> str | None:
        """One sentence where classes that are learned from also validate or test; None where none does."""
        learned = set(self.train.known_labels)
        found = []
        for what, part in ((VALIDATION, self.validation), ("test", self.test)):
            classes = set() if part is None else set(part.known_labels)
            if both := sorted(classes & learned):
                found.append(f"{len(both)} of the {len(classes)} {what} classes, such as {printable(both[0])}")
        if not found:
            return None
        return f"{', and '.join(found)}, are learned from too: what is measured is not of unseen classes alone"


def split_collection(collection: Collection, data: DataSettings) -> Splits:
    """Cut a collection into its parts.

    A collection with splits keeps them: "train", "test" (or "query" and "gallery"), and "validation" where it has one;
    classes may be in several, see `Splits.notice`.
    One without is cut as the field does: the first half of the sorted class names trains, the second half tests.

    Without a validation part of its own, `data.validation` of the training *classes* become one. They are drawn by a
    hash of `data.split_seed` and their name, so that the draw is the same on every machine, and adding images moves no
    class.

    Args:
        collection: every image has a label, as in all that `open_dataset` gives.
        data: see `DataSettings`.

    Raises:
        DatasetError: an image without a label, splits of other names, or too few classes.
        UsageError: a share of validation classes that leaves fewer than two on either side.

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
                f"{2 * FEWEST_CLASSES}, of which the first half trains and the second half tests"
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
            f"{collection.name}: has {wrong}; expected {TRAIN} and test (or query and gallery), and {VALIDATION} if "
            "there is one"
        )


def _hold_out(train: Collection, share: float, seed: int) -> tuple[Collection, Collection]:
    labels = train.known_labels
    classes = sorted(set(labels), key=_drawn_by(seed))
    count = max(FEWEST_CLASSES, round(share * len(classes)))
    if len(classes) - count < FEWEST_CLASSES:
        raise UsageError(
            f"data.validation = {share:g} of the {len(classes)} training classes of {train.name} came; expected at "
            f"least {FEWEST_CLASSES} classes held out and {FEWEST_CLASSES} to learn from: set data.validation=0 or add "
            "classes"
        )
    held = set(classes[:count])
    kept = train.subset(i for i, label in enumerate(labels) if label not in held)
    return kept, train.subset(i for i, label in enumerate(labels) if label in held)


def _drawn_by(seed: int) -> Callable[[str], str]:
    return lambda label: hashlib.sha256(f"{seed}:{label}".encode("utf-8", "surrogatepass")).hexdigest()
