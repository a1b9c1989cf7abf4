"""Errors that a user can cause: one sentence each, with what was expected, what was given, and what to do."""


class DimlError(Exception):
    """An error that the user can correct; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(DimlError, ValueError):
    """An argument is wrong, so that the call itself has to change (exit code 2)."""

    exit_code = 2


class ImageError(DimlError):
    """An image cannot be read; the message gives the file and the reason."""


class DatasetError(DimlError):
    """A collection of images is not laid out as expected."""


class ModelError(DimlError):
    """A model cannot be loaded, saved or used as requested."""


class StoreError(DimlError):
    """An index cannot be opened, read or written."""


class TrainingError(DimlError):
    """Training cannot continue; the checkpoints written so far remain."""


def first_line(error: BaseException) -> str:
    """The message of another library's error, shortened to fit into a sentence.

    >>> first_line(ValueError("no such key.\\nsee the manual"))
    'no such key'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160].rstrip(".: ")
