"""Locks: that which tells several writers of one index apart, and that under which it is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from diml.errors import StoreError
from diml.search.claims import Claim
from diml.search.manifest import FILE, LOCK, TURN, Manifest
from diml.search.places import Place


@dataclass
class AddingLock:
    """Held while images are added; nobody waits for it.

    The writer that holds it, `first`, embeds its images from the front, and a writer that joins meanwhile from the end:
    of the same folder they meet in the middle.
    """

    path: Place
    first: bool = field(default=False, init=False)

    def __enter__(self) -> AddingLock:
        if not isinstance(self.path, Path):
            self._claim = Claim(self.path / TURN)
            self.first = self._claim.try_take()
            return self
        make_folder(self.path)
        self._lock = FileLock(self.path / TURN)
        try:
            self._lock.acquire(blocking=False)
            self.first = True
        except Timeout:
            self.first = False
        return self

    def __exit__(self, *_: object) -> None:
        if self.first and isinstance(self.path, Path):
            self._lock.release()
        elif self.first:
            self._claim.release()


@contextmanager
def making(place: Place, lock: AbstractContextManager[Any] | None = None) -> Iterator[Callable[[Manifest], None]]:
    """Held by one process while it makes an index; it writes the manifest, last of all, by what this gives.

    Args:
        place: where the index will be.
        lock: of a folder of this machine.

    Raises:
        StoreError: the place cannot be written, or on an object store another process was first after all.
    """
    if isinstance(place, Path):
        make_folder(place)
        with FileLock(place / LOCK) if lock is None else lock:
            yield lambda manifest: manifest.write(place)
    else:
        with Claim(place / FILE) as claim:
            yield lambda manifest: claim.replace(manifest.document())


def make_folder(folder: Path) -> None:
    """Make the folder of an index, or make sure that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for part in (folder, folder / LOCK, folder / TURN):
            if part.exists() and not os.access(part, os.W_OK):
                raise PermissionError("permission denied")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror or error}); give a place that can") from error
