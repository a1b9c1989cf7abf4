"""The command line: parse, call, print. Slow libraries are imported by the commands that need them."""

from __future__ import annotations

import os
import sys

from diml.errors import DimlError

STOPPED = "stopped; an index keeps what it has committed, and the same command goes on from there"


def main() -> None:
    """Run `diml`; what a user can mend comes as one line on standard error, exit code 2 for usage and 1 else."""
    for stream in (sys.stdout, sys.stderr):
        # File names need not be UTF-8, nor the terminal.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(_run())


def _run() -> int:
    from typer.exceptions import Abort, Exit, TyperException

    from diml.cli.app import app

    try:
        code = app(standalone_mode=False) or 0
        # Ctrl-C arrives as this code.
        return _say(STOPPED, code) if code == 130 else code
    except Exit as exit_:
        return exit_.exit_code
    except TyperException as error:
        # Without a message it has printed its help instead.
        return _say(error.format_message(), error.exit_code) if error.format_message() else error.exit_code
    except DimlError as error:
        return _say(str(error), error.exit_code)
    except (Abort, KeyboardInterrupt):
        return _say(STOPPED, 130)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does; nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _say(f"{place}{error.strerror or error}; free some space or check the permissions, then run it again", 1)


def _say(message: str, code: int) -> int:
    print("diml: " + " ".join(message.split()), file=sys.stderr)
    return code
