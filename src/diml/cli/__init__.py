"""The command line: parse, call, print. Commands import slow libraries only when they need them."""

from __future__ import annotations

import os
import sys

from diml.errors import DimlError

STOPPED = "stopped; an index keeps the images committed so far, and the same command continues from there"


def main() -> None:
    """Run `diml`. Errors that the user can correct are printed as one line on standard error.

    The exit code is 2 for wrong usage, 130 after Ctrl-C and 1 for any other error.
    """
    for stream in (sys.stdout, sys.stderr):
        # Neither file names nor the terminal need be UTF-8.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(_run())


def _run() -> int:
    from typer.exceptions import Abort, Exit, TyperException

    from diml.cli.app import app

    try:
        code = app(standalone_mode=False) or 0
        # Typer returns this code after Ctrl-C.
        return _fail(STOPPED, code) if code == 130 else code
    except Exit as exit_:
        return exit_.exit_code
    except TyperException as error:
        # Without a message, Typer has printed the help.
        return _fail(error.format_message(), error.exit_code) if error.format_message() else error.exit_code
    except DimlError as error:
        return _fail(str(error), error.exit_code)
    except (Abort, KeyboardInterrupt):
        return _fail(STOPPED, 130)
    except BrokenPipeError:
        # The reader of the output has closed it, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}; free some space or check the permissions, and run again", 1)


def _fail(message: str, code: int) -> int:
    print("diml: " + " ".join(message.split()), file=sys.stderr)
    return code
