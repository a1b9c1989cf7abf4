"""Writing pictures and pages: the whole file or none of it, in the format that its ending names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from diml.errors import DimlError, UsageError
from diml.files import SOFTWARE, AnyPath, user_path, write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = ("png", "svg", "pdf")
PAGES = ("html", "htm")


def is_page(path: AnyPath) -> bool:
    """Whether a file to write is an HTML page, by its ending.

    >>> is_page("why.html"), is_page("why.png")
    (True, False)
    """
    return _ending(path) in PAGES


def check_output(path: AnyPath, endings: Iterable[str] = PICTURES) -> None:
    """Refuse a path that cannot be written; call it before the long work starts.

    Raises:
        UsageError: the ending is none of `endings`, the folder does not exist, or the path is itself a folder.

    >>> check_output("why.PNG")
    """
    path, endings = user_path(path), tuple(endings)
    if _ending(path) not in endings:
        raise UsageError(
            f"cannot write {path}: expected one of the endings {', '.join('.' + each for each in endings)}"
        )
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")


def check_no_source(path: AnyPath, sources: Iterable[AnyPath]) -> None:
    """Refuse to overwrite an image that is read; links and other names of the same file count as well.

    Raises:
        UsageError: the file is one of the images.
    """
    path = user_path(path)
    if not path.exists():
        return
    for source in sources:
        # A source that does not exist is reported where it is opened.
        if os.path.exists(source) and os.path.samefile(path, source):
            raise UsageError(f"cannot write {path}: it is one of the images to read; name another file")


def write(path: AnyPath, figure: Callable[[], Figure], page: Callable[[], str] | None = None) -> None:
    """Write a picture or a page, by the ending of the path; only the one that is asked for is made.

    Args:
        path: what to write, replacing what is there.
        figure: draws the picture, for .png, .svg and .pdf.
        page: makes the page, for .html; None where there is no page.

    Raises:
        UsageError: an ending that is not supported, a folder that does not exist, or a folder in place of the file.
        DimlError: the file cannot be written.
    """
    check_output(path, PICTURES if page is None else (*PICTURES, *PAGES))
    if page is not None and is_page(path):
        save_page(page(), path)
    else:
        save_picture(figure(), path)


def save_picture(figure: Figure, path: AnyPath, dpi: float = 120) -> None:
    """Save a figure as PNG, SVG or PDF, by the ending of the path.

    Raises:
        UsageError: another ending, a folder that does not exist, or a folder in place of the file.
        DimlError: the file cannot be written.
    """
    from matplotlib import rc_context

    check_output(path)
    ending = _ending(path)
    # No dates, and fixed ids in an SVG, so that the same picture gives the same bytes. A PNG names this program, so
    # that it is not taken for an image of the collection in whose folder it lies.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": SOFTWARE}}[ending]
    # The strongest compression takes longer than the drawing and saves an eighth.
    settings: dict[str, Any] = {"pil_kwargs": {"compress_level": 1}} if ending == "png" else {}
    with rc_context({"svg.hashsalt": "diml"}):
        write_file(path, lambda file: figure.savefig(file, format=ending, dpi=dpi, metadata=metadata, **settings))


def save_page(html: str, path: AnyPath) -> None:
    """Save an HTML page in UTF-8.

    Raises:
        UsageError: the ending is not .html, the folder does not exist, or it is a folder.
        DimlError: the file cannot be written.
    """
    check_output(path, PAGES)
    write_file(path, html.encode("utf-8", "replace"))


def _ending(path: AnyPath) -> str:
    """In lower case, without the dot."""
    return Path(path).suffix.lower().removeprefix(".")


def write_file(path: AnyPath, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write the whole file or none of it.

    Raises:
        DimlError: the file cannot be written (folder missing, permission, disk full).
    """
    path = user_path(path)
    try:
        write_atomic(path, content)
    except OSError as error:
        raise DimlError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
