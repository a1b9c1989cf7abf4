"""Uploads that are to be added to an index, in a private folder until they are."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fastapi import UploadFile

from diml.data.collection import Collection, Skipped
from diml.errors import UsageError
from diml.service.multipart import not_kept

# Bytes of one part of a path.
LONGEST = 200
CHUNK = 1 << 20


@dataclass(frozen=True)
class Spool:
    """Files under their names, below a folder of their own that nobody else can read."""

    place: tempfile.TemporaryDirectory[str]
    paths: list[str]
    labels: list[str] | None

    def file(self, path: str) -> Path:
        return Path(self.place.name) / path

    def collection(self, skipped: Sequence[Skipped]) -> Collection:
        """Those that can be read, as a collection."""
        out = {each.path for each in skipped}
        kept = [at for at in sorted(range(len(self.paths)), key=self.paths.__getitem__) if self.paths[at] not in out]
        labels = None if self.labels is None else [self.labels[at] or None for at in kept]
        paths = [self.paths[at] for at in kept]
        return Collection(Path(self.place.name), paths, labels, skipped=list(skipped), name="the uploads")

    def close(self) -> None:
        self.place.cleanup()


async def spooled(uploads: Sequence[UploadFile], labels: Sequence[str]) -> Spool:
    """Write uploads to a private folder.

    Args:
        uploads: their names may have folders, such as `cats/tom.jpg`.
        labels: as many, or none.

    Raises:
        UsageError: a name that cannot be used, or twice, or another number of labels.
        RequestError: 507, there is no space for them.
    """
    if labels and len(labels) != len(uploads):
        raise UsageError(f"expected a label for each of the {len(uploads)} images, or none, got {len(labels)}")
    paths = [safe_path(each.filename or "") for each in uploads]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(f"two images have the name {path}; send each name once")
    try:
        place = tempfile.TemporaryDirectory(prefix="diml-", ignore_cleanup_errors=True)
    except OSError as error:
        raise not_kept(error) from error
    spool = Spool(place, paths, list(labels) or None)
    try:
        for upload, path in zip(uploads, paths, strict=True):
            file = spool.file(path)
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "xb") as opened:
                while data := await upload.read(CHUNK):
                    opened.write(data)
    except BaseException as error:
        spool.close()
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise UsageError("one name is the folder of another image; give them other names") from error
        if isinstance(error, OSError):
            raise not_kept(error) from error
        raise
    return spool


def safe_path(name: str) -> str:
    """A relative path that stays where it is put.

    Raises:
        UsageError: it leads elsewhere, or is no name of a file.

    >>> safe_path("cats/tom.jpg"), safe_path("C:\\\\photos\\\\tom.jpg"), safe_path("/tom.jpg")
    ('cats/tom.jpg', 'photos/tom.jpg', 'tom.jpg')
    >>> safe_path("../tom.jpg")
    Traceback (most recent call last):
    diml.errors.UsageError: expected the name of an image such as cats/tom.jpg, got '../tom.jpg'
    """
    plain = re.sub(r"^[A-Za-z]:", "", name.replace("\\", "/"))
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    good = all(part != ".." and len(part.encode("utf-8", "replace")) <= LONGEST for part in parts)
    if not parts or not good or len(parts) > 16 or re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", plain):
        raise UsageError(f"expected the name of an image such as cats/tom.jpg, got {name[:100]!r}")
    return PurePosixPath(*parts).as_posix()
