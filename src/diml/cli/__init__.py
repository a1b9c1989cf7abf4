"""The command line: parse, call, print. Commands import slow libraries only when they need them."""

from __future__ import annotations

import sys

from diml.cli.streams import abandon, flush_output, prepare_streams
from diml.errors import DimlError

STOPPED = "stopped; an index keeps the images committed so far, and the same command continues from there"


def main() -> None:
    """Run `diml`. Errors that the user can correct are printed as one line on standard error.

    The exit code is 2 for wrong usage, 130 after Ctrl-C and 1 for any other error.
    """
    prepare_streams()
    sys.exit(_finished(_run()))


def _finished(code: int) -> int:
    """The exit code after the output is written: 0 where its reader has closed it, as `head` does."""
    try:
        flush_output()
    except BrokenPipeError:
        abandon("stdout")
        return code
    except OSError as error:
        abandon("stdout")
        return _fail(f"the output cannot be written ({error.strerror or error}); free some space and run again", 1)
    return code


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
        return 0
    except SystemExit as left:
        # Click leaves with 1 where the reader of the output has closed it.
        if isinstance(left.__context__, BrokenPipeError):
            return 0
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}; free some space or check the permissions, and run again", 1)


def _fail(message: str, code: int) -> int:
    try:
        print("diml: " + " ".join(message.split()), file=sys.stderr, flush=True)
    except OSError:
        abandon("stderr")
    return code
