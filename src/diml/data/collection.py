"""Collections of images: their files, labels and columns, and what was left out and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from diml.data import formats
from diml.data.class_folders import class_folders
from diml.data.containers import is_tar
from diml.data.listed_paths import NO_FILE, ListedFiles, by_spelling, spelling
from diml.data.located import Located
from diml.data.object_files import exists
from diml.data.outputs import describe
from diml.data.printable import printable
from diml.data.tables import Table, Values, read_table
from diml.data.walk import walk
from diml.errors import DatasetError, UsageError
from diml.files import AnyPath, no_home, user_path


@dataclass(frozen=True)
class Skipped:
    """A file or folder that was left out: its path (relative if possible, safe to print) and the reason in words."""

    path: str
    reason: str


@dataclass(frozen=True)
class Collection:
    """n images below a folder.

    Attributes:
        root: the folder that all paths are relative to.
        paths: n POSIX paths relative to `root`, each once; sorted where they are files.
        labels: n class labels, None for an image without one; None if no labels were requested.
        splits: n names such as "train" and "test"; None for a collection without splits.
        columns: further columns by name, n values each.
        skipped: what was left out.
        name: a name for messages, safe to print.
        notes: sentences on what the collection does not contain and was not meant to, such as indices in the folder.
        listed: for a folder with labels from a table: n times whether the table names the image; what is known of the
            others elsewhere, for instance in an index, stays. None where the collection states everything.
        sources: where the n images lie that are no files of their own, see `diml.data.open_packed`; None for files.
        url: of a folder on an object store, where `root` is none that can be opened; empty for one of this machine.
    """

    root: Path
    paths: list[str]
    labels: list[str | None] | None = None
    splits: list[str] | None = None
    columns: dict[str, list[str | None]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    name: str = ""
    notes: list[str] = field(default_factory=list)
    listed: list[bool] | None = None
    sources: list[Located] | None = None
    url: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, i: int) -> Path | Located:
        """The file of image i, or where it lies."""
        return no_home(self.root / self.paths[i]) if self.sources is None else self.sources[i]

    @property
    def place(self) -> str:
        """The folder as text: its address, or its absolute path."""
        return self.url or str(self.root.absolute())

    def has(self, path: str) -> bool:
        """Whether there is something of this path in the folder, such as a file that was left out."""
        return exists(f"{self.url}/{path}") if self.url else os.path.lexists(self.root / path)

    def subset(self, indices: Iterable[int]) -> Collection:
        """The images at these positions, in this order."""
        picked = [int(i) for i in indices]
        return Collection(
            self.root,
            [self.paths[i] for i in picked],
            None if self.labels is None else [self.labels[i] for i in picked],
            None if self.splits is None else [self.splits[i] for i in picked],
            {name: [values[i] for i in picked] for name, values in self.columns.items()},
            self.skipped,
            self.name,
            self.notes,
            None if self.listed is None else [self.listed[i] for i in picked],
            None if self.sources is None else [self.sources[i] for i in picked],
            self.url,
        )

    @property
    def known_labels(self) -> list[str]:
        """The n labels of a collection in which every image has one, such as those of `open_dataset`.

        Raises:
            DatasetError: an image has no label.
        """
        for path, label in zip(self.paths, self.labels or [None] * len(self), strict=True):
            if label is None:
                raise DatasetError(f"{self.name}: the image {printable(path)} has no label; every image needs one here")
        return [label for label in self.labels or [] if label is not None]


def open_folder(folder: AnyPath, labels_from: AnyPath | None = None) -> Collection:
    """The images in a folder and its subfolders; where there are none, those in its tars and tables, see `open_packed`.

    Args:
        folder: the folder to search. Hidden files and folders are left out, and so is what this program has written
            (see `notes`); links are followed, each folder once.
        labels_from: "folder" takes the first folder of a relative path as the label, below a folder of a split the
            next one (None for files outside of a subfolder); a table gives the label and further columns of the files
            in its column `path`, relative to `folder` (None for all others, see `listed`); None gives no labels.

    Raises:
        UsageError: the folder or the table does not exist.
        DatasetError: there is no image in the folder, or the table is not as `open_table` expects it.
    """
    root = user_path(folder)
    _expect_folder(root)
    paths, left_out, outputs, unread, packed = walk(root)
    if not paths and (held := _packed_in(root, packed, labels_from)) is not None:
        return held
    found = Collection(
        root,
        paths,
        skipped=[Skipped(path, reason) for path, reason in left_out],
        name=printable(root),
        notes=[
            *([describe(outputs)] if outputs else []),
            *([formats.describe(kind for _, kind in unread)] if unread else []),
            *_beside(packed),
        ],
    )
    if not paths:
        raise _no_images(found)
    if labels_from is None:
        return found
    if os.fspath(labels_from) == "folder":
        return replace(found, labels=class_folders(paths).labels)
    return labelled(found, user_path(labels_from))


def _packed_in(root: Path, packed: list[str], labels_from: AnyPath | None) -> Collection | None:
    """The images in the tars and tables of a folder; None if there are none, as in tables that list files."""
    from diml.data.packed import gathered, is_packed

    held = [path for path in packed if is_packed(root / path)]
    return gathered(root, held, printable(root), labels_from) if held else None


def _beside(packed: list[str]) -> list[str]:
    """A sentence on tars that lie beside images."""
    tars = [path for path in packed if is_tar(path)]
    if not tars:
        return []
    return [
        f"left out, as there are images beside: tars {len(tars)} (such as {printable(tars[0])}; give it by its name)"
    ]


def _no_images(found: Collection) -> DatasetError:
    skipped = found.skipped
    beside = [f"{len(skipped)} left out, such as {skipped[0].path}: {skipped[0].reason}"] if skipped else []
    return DatasetError(
        "; ".join(
            [
                f"{found.name}: holds no images",
                f"looked at the content of the files in it and its subfolders for {', '.join(formats.readable())}",
                *beside,
                *found.notes,
            ]
        )
    )


def open_table(table: AnyPath, labelled: bool = True) -> Collection:
    """The images that a table lists: columns `path` (relative to its folder), `label`, optionally `split`, and more.

    Rows whose file is missing are left out, with the reason. An empty cell is None. A path may be absolute if it lies
    below the table's folder.

    Args:
        table: a CSV file, or by its ending TSV (.tsv, .tab), JSON lines (.jsonl, .ndjson) or Parquet (.parquet, .pq).
        labelled: whether the column `label` is required.

    Raises:
        UsageError: there is no such file.
        DatasetError: a column is missing, a path is listed twice or leads out of the folder, none of the files exists,
            or the table is too large.
    """
    read = read_table(user_path(table), ("path", "label") if labelled else ("path",))
    return from_table(read.source.parent, read, printable(read.source))


def from_table(root: Path, table: Table, name: str) -> Collection:
    """The images of a table, below `root`; its columns label and split become the labels and splits."""
    files = ListedFiles(root)
    located = [(*files.find(row.path), row) for row in table.rows]
    rows = table.by_path([(path, row) for path, _, row in located])
    reasons = {path: reason for path, reason, _ in located if reason}
    skipped = [Skipped(printable(path), f"{table.where(rows[path])}, but {reasons[path]}") for path in sorted(reasons)]
    kept = [path for path in sorted(rows) if path not in reasons]
    if not rows:
        raise DatasetError(f"{printable(table.source)}: names no images; expected one on each line below the header")
    if not kept:
        reason = reasons[min(reasons)]
        example = skipped[0].path + (f": {reason}" if reason != NO_FILE else "")
        raise DatasetError(
            f"{printable(table.source)}: none of the {len(rows)} files that it names (such as {example}) "
            f"exists below {printable(root)}; expected paths relative to that folder"
        )
    columns = table.columns_of([rows[path].values for path in kept])
    labels = columns.pop("label", None)
    splits = table.whole_column("split", columns.pop("split", None))
    return Collection(root, kept, labels, splits, columns, skipped, name, table.notes)


def labelled(found: Collection, source: Path) -> Collection:
    """The images of a folder with the labels and columns of a table, whose paths are relative to that folder.

    Raises:
        UsageError: there is no such table.
        DatasetError: it is not as `open_table` expects it, or names none of the images.
    """
    table = read_table(source, root=found.root)
    there, spellings = set(found.paths), by_spelling(found.paths)

    def stored(path: str) -> str:
        same = spellings.get(spelling(path), [])
        return same[0] if path not in there and len(same) == 1 else path

    rows = table.by_path([(stored(row.path), row) for row in table.rows])
    unknown = sorted(rows.keys() - there)
    if len(unknown) == len(rows):
        example = f" (such as {printable(unknown[0])})" if unknown else ""
        raise DatasetError(
            f"{printable(table.source)}: none of its {len(rows)} paths{example} is an image in {found.name}; "
            "expected paths relative to that folder"
        )
    nothing: Values = dict.fromkeys(table.columns)
    columns = table.columns_of([rows[path].values if path in rows else nothing for path in found.paths])
    reason = f"but is not among the images in {found.name}"
    missing = [Skipped(printable(path), f"{table.where(rows[path])}, {reason}") for path in unknown]
    return replace(
        found,
        labels=columns.pop("label", None),
        columns=columns,
        skipped=found.skipped + missing,
        notes=found.notes + table.notes,
        listed=[path in rows for path in found.paths],
    )


def _expect_folder(folder: Path) -> None:
    if not os.path.lexists(folder):
        raise UsageError(f"{printable(folder)}: there is no such folder; expected a folder of images")
    if not os.path.isdir(folder):
        raise UsageError(f"{printable(folder)}: is not a folder; expected a folder of images")
