"""Writing what was drawn: the whole file, or none of it."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from diml.errors import DimlError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = ("png", "svg", "pdf")


def check_output(path: str | os.PathLike[str], endings: Sequence[str] = PICTURES) -> str:
    """The ending of a file to write, in lower case without the dot; meant to be called before the long work starts.

    Raises:
        UsageError: the ending is none of `endings`, the folder does not exist, or the path is itself a folder.

    >>> check_output("why.PNG")
    'png'
    """
    path = Path(path)
    ending = path.suffix.lower().removeprefix(".")
    if ending not in endings:
        known = ", ".join("." + each for each in endings)
        raise UsageError(f"{path} cannot be written: its ending should be one of {known}")
    if path.is_dir():
        raise UsageError(f"{path} cannot be written: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: the folder {path.parent} does not exist; make it first")
    return ending


def check_no_source(path: str | os.PathLike[str], sources: Iterable[str | os.PathLike[str]]) -> None:
    """Refuse to write over what is being read; links and other names of the same file count, too.

    Raises:
        UsageError: the file is one of the images.
    """
    if not os.path.exists(path):
        return
    for source in sources:
        # One that is not there will be told of where it is opened.
        if os.path.exists(source) and os.path.samefile(path, source):
            raise UsageError(f"{path} is one of the images that came; name another file")


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Write a file through a temporary one beside it, so that no one ever sees half of it.

    Args:
        path: what to write, replacing what is there (the target, where it is a link).
        write: is given the open temporary file.

    Raises:
        DimlError: the file cannot be written (folder missing, permission, disk full).
    """
    target = Path(os.path.realpath(path))
    temporary = target.parent / f".diml-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            write(file)
        os.replace(temporary, target)
    except OSError as error:
        raise DimlError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def save_picture(figure: Figure, path: str | os.PathLike[str], dpi: float = 120) -> None:
    """Save a figure as PNG, SVG or PDF, by the ending of the path.

    Raises:
        UsageError: another ending, a folder that does not exist, or a folder in place of the file.
        DimlError: the file cannot be written.
    """
    from matplotlib import rc_context

    ending = check_output(path)
    # Without the date, and with names of its own for what an SVG refers to, the same picture gives the same bytes.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(ending)
    # The strongest compression takes longer than the drawing and saves an eighth.
    settings: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if ending == "png" else {}
    with rc_context({"svg.hashsalt": "diml"}):
        write_whole(path, lambda file: figure.savefig(file, format=ending, dpi=dpi, metadata=metadata, **settings))


def save_page(html: str, path: str | os.PathLike[str]) -> None:
    """Save an HTML page in UTF-8.

    Raises:
        UsageError: the ending is not .html, the folder does not exist, or it is a folder.
        DimlError: the file cannot be written.
    """
    check_output(path, ("html", "htm"))
    write_whole(path, lambda file: file.write(html.encode("utf-8", "replace")))
