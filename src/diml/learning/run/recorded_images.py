"""The training and validation images that a run was begun with: recorded in its folder, and compared on a resume."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diml.data import Collection, printable
from diml.errors import DatasetError, UsageError
from diml.learning.batches.sampling import FEWEST_IMAGES
from diml.learning.batches.splits import TESTS, TRAIN, VALIDATION, Splits

COLUMNS = ("path", "label", "split")


@dataclass(frozen=True)
class RecordedImages:
    """Path, class and part ("train" or "validation") of each image.

    >>> from pathlib import Path
    >>> train = Collection(Path("pets"), ["a/1.png", "a/2.png"], ["a", "a"])
    >>> recorded = RecordedImages.of(Splits(train, None, None))
    >>> recorded.gone(train.subset([1]))
    {'a/1.png': 'is gone since the run was begun'}
    """

    rows: tuple[tuple[str, str, str], ...]

    @staticmethod
    def of(splits: Splits) -> RecordedImages:
        parts = ((TRAIN, splits.train), (VALIDATION, splits.validation))
        return RecordedImages(
            tuple(
                (path, label, name)
                for name, part in parts
                if part is not None
                for path, label in zip(part.paths, part.known_labels, strict=True)
            )
        )

    @staticmethod
    def read(file: Path) -> RecordedImages:
        """Read the table that `to_csv` writes.

        Raises:
            UsageError: it cannot be read, or is not such a table.
        """
        try:
            with open(file, newline="", encoding="utf-8") as opened:
                lines = [tuple(line) for line in csv.reader(opened, strict=True)]
        except (OSError, ValueError, csv.Error):
            lines = []
        rows = tuple((line[0], line[1], line[2]) for line in lines[1:] if len(line) == len(COLUMNS))
        parts = {part for *_, part in rows}
        if (
            not lines
            or lines[0] != COLUMNS
            or len(rows) < len(lines) - 1
            or not {TRAIN} <= parts <= {TRAIN, VALIDATION}
        ):
            raise UsageError(
                f"{printable(file)}: is not the list of a run's images, or is damaged; copy the whole run again, or "
                "begin a new one with --out"
            )
        return RecordedImages(rows)

    def to_csv(self) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self.rows])
        return text.getvalue()

    def splits(self, collection: Collection) -> Splits:
        """The parts of a collection as they were recorded, with the images that are gone; the test part is today's.

        Raises:
            UsageError: a training or validation image was added, or has changed its class or part.
        """
        recorded = {path: (label, part) for path, label, part in self.rows}
        given: Sequence[str | None] = collection.splits or [None] * len(collection)
        learned = {label for _, label, _ in self.rows}
        test = []
        for i, (path, label, split) in enumerate(zip(collection.paths, collection.known_labels, given, strict=True)):
            tests = label not in learned if split is None else split in TESTS
            if tests and path not in recorded:
                test.append(i)
            elif tests or path not in recorded or not _same(recorded[path], label, split, VALIDATION in given):
                what = "is not one" if path not in recorded else "has another class or split than one"
                raise UsageError(
                    f"{collection.name}: {printable(path)} {what} of the training and validation images that the run "
                    "was begun with; restore them, or give a new folder with --out"
                )
        train, validation = (self._part(collection, name) for name in (TRAIN, VALIDATION))
        assert train is not None
        return Splits(train, validation, collection.subset(test) if test else None)

    def gone(self, collection: Collection) -> dict[str, str]:
        """The recorded images that the collection no longer has, by path, each with its reason in words.

        Raises:
            DatasetError: it has none of them.
        """
        there = set(collection.paths)
        missing = [path for path, *_ in self.rows if path not in there]
        if self.rows and len(missing) == len(self.rows):
            raise DatasetError(
                f"{collection.name}: has none of the {len(self.rows)} images that the run was begun with; give the "
                "same data, or a new folder with --out"
            )
        return dict.fromkeys(missing, "is gone since the run was begun")

    def _part(self, collection: Collection, name: str) -> Collection | None:
        rows = list(self._rows(name))
        if not rows:
            return None
        paths, labels = zip(*rows, strict=True)
        return replace(collection, paths=list(paths), labels=list(labels), splits=None, columns={})

    def _rows(self, name: str) -> Iterator[tuple[str, str]]:
        return ((path, label) for path, label, part in self.rows if part == name)


def check_classes(train: Collection, gone: Container[str], left_out: Container[str]) -> None:
    """Check that every training class has enough images left for a batch.

    Args:
        train: the training images as they were recorded.
        gone: paths of images that are gone.
        left_out: paths of images that the run has left out before.

    Raises:
        DatasetError: a class from which images were drawn has too few left.
    """
    used = [(path, label) for path, label in zip(train.paths, train.known_labels, strict=True) if path not in left_out]
    before = Counter(label for _, label in used)
    left = Counter(label for path, label in used if path not in gone)
    for label, count in before.items():
        if count >= FEWEST_IMAGES > left[label]:
            raise DatasetError(
                f"{train.name}: the training class {printable(label)} has {left[label]} of its {count} images left, "
                f"and a batch needs {FEWEST_IMAGES}; restore them, or begin a new run with --out"
            )


def _same(recorded: tuple[str, str], label: str, split: str | None, has_validation: bool) -> bool:
    """Without a validation part of its own, some classes of the collection's training part were held out."""
    return label == recorded[0] and (not has_validation or split == recorded[1])
