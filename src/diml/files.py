"""Writing files atomically: a reader sees the former file or the new one, never a part of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

# What the name of a temporary file ends in; one may remain beside its target where the process was killed.
TEMPORARY = ".part"


def write_atomic(
    path: str | os.PathLike[str], content: bytes | Callable[[IO[bytes]], object], *, durable: bool = False
) -> None:
    """Write a file through a temporary one in the same folder, which then replaces it in one step.

    Whatever fails, the former file stays as it was and the temporary file is removed.

    Args:
        path: the file to write or replace; a symbolic link is followed and stays a link.
        content: the bytes, or a function that writes them to the open temporary file.
        durable: flush the file and its folder to the disk, so that a power failure cannot undo or damage the file.

    Raises:
        OSError: the file cannot be written (missing folder, no permission, full disk).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomic(Path(folder) / "a.txt", b"whole")
    ...     write_atomic(Path(folder) / "b.txt", lambda file: file.write(b"whole"), durable=True)
    ...     sorted(os.listdir(folder))
    ['a.txt', 'b.txt']
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{target.name[:100]}.{secrets.token_hex(8)}{TEMPORARY}")
    try:
        with open(temporary, "xb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()
    if durable:
        _flush_folder(target.parent)


def _flush_folder(folder: Path) -> None:
    """Flush the new name to the disk; a system that cannot open a folder does so in its own time."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
