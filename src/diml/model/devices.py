"""The device to compute on, by name."""

from __future__ import annotations

import torch

from diml.errors import UsageError


def parse_device(text: str, name: str = "--device") -> str:
    """The name of a device that is there.

    Args:
        text: cpu, cuda, cuda:1, ...; auto for a GPU if there is one.
        name: what it was given for, in the message of an error.

    Raises:
        UsageError: there is no such device.

    >>> parse_device("cpu")
    'cpu'
    """
    if text == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=text)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"{name} {text} is not available on this machine; use cpu") from error
    return text
