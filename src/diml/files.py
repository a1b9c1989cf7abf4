"""Paths as users give them, and writing files atomically: a reader sees the former file or the new one, no part."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from diml.errors import UsageError

AnyPath = str | os.PathLike[str]
# What the name of a temporary file ends in; one may remain beside its target where the process was killed.
TEMPORARY = ".part"
SOFTWARE = "diml"
"""What a PNG file that this program writes has in its text "Software", by which it is not taken for input."""


def user_path(path: AnyPath) -> Path:
    """A path as a user gives it, on the command line or in Python, with `~` and `~user` as the home directories.

    Names such as `~draft.png`, which are no user's, stay as they are. The result never begins with `~`, so it may be
    given again.

    Raises:
        UsageError: it is a URL, empty, no path at all, or contains a NUL character.

    >>> user_path("photos.diml")
    PosixPath('photos.diml')
    >>> user_path("s3://bucket/photos.diml")
    Traceback (most recent call last):
    diml.errors.UsageError: expected a path on this machine, got the URL s3://bucket/photos.diml; give a local path
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise UsageError(f"expected a path, got {type(text).__name__}; give text or a pathlib.Path")
    if not text:
        raise UsageError("expected a path, got an empty one; use . for the current folder")
    if "\0" in text:
        raise UsageError(f"expected a path without NUL characters, got {text!r}; remove them")
    # Two letters or more, as one is a drive of Windows; pathlib makes one slash of two.
    if re.match(r"[A-Za-z][\w+.-]+:/" + "/" * isinstance(path, str), text):
        raise UsageError(f"expected a path on this machine, got the URL {text}; give a local path")
    return no_home(Path(os.path.expanduser(text)))


def no_home(path: Path) -> Path:
    """The path, absolute if it is relative and begins with `~`, which then is a name and not the home directory."""
    return path.absolute() if path.parts and path.parts[0].startswith("~") else path


def first_bytes(path: AnyPath, count: int) -> bytes:
    """The first bytes of a file, at most `count`; none if it cannot be read, or is a pipe without a writer."""
    try:
        # Not by `open`, which takes three times as long: this is done for every file of a folder.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return b""
    try:
        return os.read(descriptor, count)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def write_atomic(path: AnyPath, content: bytes | Callable[[IO[bytes]], object], *, durable: bool = False) -> None:
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
