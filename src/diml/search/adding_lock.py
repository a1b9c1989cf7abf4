"""The lock that tells several writers of one index apart, and the folder that holds it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from diml.errors import StoreError
from diml.search.manifest import LOCK, TURN


@dataclass
class AddingLock:
    """Held while images are added; nobody waits for it.

    The writer that holds it, `first`, embeds its images from the front, and a writer that joins meanwhile from the end:
    of the same folder they meet in the middle.
    """

    path: Path
    first: bool = field(default=False, init=False)

    def __enter__(self) -> AddingLock:
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
