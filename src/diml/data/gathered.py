"""Images as they are found in tars and tables, with what is known of each, column by column."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diml.data.collection import Collection, Skipped
from diml.data.located import Located
from diml.data.printable import printable
from diml.data.table_formats import MAX_CELLS
from diml.errors import DatasetError

LABEL = "label"
_SPLIT = "split"


def member_path(name: str) -> str | None:
    """The name of an image in its container as a relative path in normalised form; None if it cannot be one.

    >>> member_path("./cats//tom.jpg"), member_path("/cats/tom.jpg"), member_path("../tom.jpg")
    ('cats/tom.jpg', 'cats/tom.jpg', None)
    """
    plain = posixpath.normpath(name.strip()).lstrip("/")
    try:
        plain.encode()
    except UnicodeEncodeError:
        return None
    return None if plain in ("", ".", "..") or plain.startswith("../") or "\0" in plain else plain


@dataclass
class Gathered:
    """n images, in the order in which they lie in their containers.

    Attributes:
        paths: of the images, relative to the collection: that of the container, then the name in it.
        sources: where they lie.
        columns: by name, n values each, `label` and `split` among them; None where a value is not known.
        skipped: what was left out.
        notes: what else is to be said, each with the containers of which it is to be said.
    """

    paths: list[str] = field(default_factory=list)
    sources: list[Located] = field(default_factory=list)
    columns: dict[str, list[str | None]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)

    def add(self, path: str, source: Located, values: Mapping[str, str | None]) -> None:
        """One more image.

        Raises:
            DatasetError: there are too many values to be held.
        """
        before = len(self.paths)
        self.paths.append(path)
        self.sources.append(source)
        for name in values.keys() - self.columns.keys():
            self.columns[name] = [None] * before
        for name, column in self.columns.items():
            column.append(values.get(name))
        self._check_cells()

    def extend(self, other: Gathered) -> None:
        """The images of another one after these.

        Raises:
            DatasetError: as `add`.
        """
        before = len(self.paths)
        self.paths += other.paths
        self.sources += other.sources
        self.skipped += other.skipped
        for said, containers in other.notes.items():
            self.notes.setdefault(said, []).extend(containers)
        for name in other.columns.keys() - self.columns.keys():
            self.columns[name] = [None] * before
        for name, column in self.columns.items():
            column.extend(other.columns.get(name) or [None] * len(other.paths))
        self._check_cells()

    def _check_cells(self) -> None:
        if len(self.paths) * len(self.columns) > MAX_CELLS:
            raise DatasetError(
                f"{self.sources[-1].name}: is one of too many images, with more than {MAX_CELLS:,} values in "
                f"{len(self.columns)} columns; leave columns out, or add the images in several steps"
            )

    def leave(self, path: str, reason: str) -> None:
        """Note what was left out."""
        self.skipped.append(Skipped(printable(path), reason))

    def note(self, container: str, said: str) -> None:
        """Say something of a container: the rest of a sentence that begins with its name."""
        self.notes.setdefault(said, []).append(container)

    def collection(self, root: Path | str, name: str) -> Collection:
        """The images as a collection; `split` stays a further column where only some images have one.

        Args:
            root: the folder that paths are relative to, or its address on an object store.
            name: a name for messages.
        """
        columns = dict(self.columns)
        labels = columns.pop(LABEL, None)
        splits = columns.get(_SPLIT)
        whole = None if splits is None else [split for split in splits if split is not None]
        if whole is not None and len(whole) == len(self.paths):
            del columns[_SPLIT]
        else:
            whole = None
        notes = [
            f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {said}"
            for said, names in self.notes.items()
        ]
        url = root if isinstance(root, str) else ""
        return Collection(
            Path(root), self.paths, labels, whole, columns, self.skipped, name, notes, None, self.sources, url
        )
