"""Errors that a user can cause: one sentence each, saying what came, what was expected and what to do."""


class DimlError(Exception):
    """Something that a user can mend; the command line prints it as one line and exits with `exit_code`."""

    exit_code = 1


class UsageError(DimlError, ValueError):
    """An argument is wrong: the call itself has to change (exit code 2)."""

    exit_code = 2


class ImageError(DimlError):
    """An image cannot be read; the message names the file and says why."""


class DatasetError(DimlError):
    """A collection of images is not laid out as it should be."""


class ModelError(DimlError):
    """A model cannot be loaded, saved or used as asked."""


class StoreError(DimlError):
    """An index cannot be opened, read or written."""


class TrainingError(DimlError):
    """Training cannot go on; what it has kept so far is kept."""


def first_line(error: BaseException) -> str:
    """What another library said, cut to what fits into a sentence of ours.

    >>> first_line(ValueError("no such key.\\nsee the manual"))
    'no such key'
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:160].rstrip(".: ")
