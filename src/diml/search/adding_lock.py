"""Writers beside each other: who begins at which end, and what is watched on the way."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from diml.errors import StoreError
from diml.search.intake import Block
from diml.search.manifest import LOCK, TURN
from diml.search.writer import Progress


@dataclass
class Watch:
    """Looks on while the sample of a new index is embedded."""

    total: int
    strict: bool
    progress: Progress | None
    done: int = 0

    def __call__(self, block: Block) -> None:
        self.done += len(block) + len(block.failures)
        if self.progress is not None:
            self.progress(self.done, self.total)
        if self.strict and block.failures:
            raise block.failures[0][1]


@dataclass
class Turn:
    """Who adds first begins at the front, who comes while that goes on begins at the end: they meet in the middle."""

    path: Path
    first: bool = field(default=False, init=False)

    def __enter__(self) -> Turn:
        make_folder(self.path)
        self._lock = FileLock(self.path / TURN)
        try:
            self._lock.acquire(blocking=False)
            self.first = True
        except Timeout:
            self.first = False
        return self

    def __exit__(self, *_: object) -> None:
        if self.first:
            self._lock.release()


def make_folder(folder: Path) -> None:
    """Make the folder of an index, or make sure that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in (folder, folder / LOCK, folder / TURN):
            if part.exists() and not os.access(part, os.W_OK):
                raise PermissionError("permission denied")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror or error}); give a place that can") from error
