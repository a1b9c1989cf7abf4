"""Standard streams that are closed, full, or closed by their reader."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import suppress
from typing import TextIO


def prepare_streams() -> None:
    """Make the standard streams usable whatever the shell did with them.

    A closed descriptor is opened on the null device; otherwise the next file that is opened would take its number and
    receive what is printed. Characters that the terminal cannot show are escaped. Libraries' warnings about image files
    are silenced, as unusable images are reported in sentences; those of this program take one line.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (open until the end)
        getattr(sys, name).reconfigure(errors="backslashreplace")
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.showwarning = _show_warning
    # Without a handler, Python prints what Pillow logs about damaged files.
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of this program in one line, without the place in its code; others as Python shows them."""
    if not category.__module__.startswith("diml."):
        message = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
    else:
        message = f"diml: {message}"
    with suppress(OSError, ValueError):
        print(message, file=file or sys.stderr)


def flush_output() -> None:
    """Write what is left in the buffers, so that an error appears here and not at the interpreter's end.

    Raises:
        OSError: the output cannot be written; `BrokenPipeError` where its reader has closed it.
    """
    sys.stdout.flush()


def abandon(name: str) -> None:
    """Send the rest of a stream, including what is in its buffer, to the null device."""
    stream = getattr(sys, name)
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    with suppress(OSError, ValueError):
        stream.flush()
