"""Patterns that stand for many files, such as the shards of a data set."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import product

from diml.data.printable import printable
from diml.errors import UsageError
from diml.files import AnyPath

# Shards that a pattern may stand for.
_MOST_NAMES = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expanded(pattern: AnyPath, match: Callable[[str], list[str]] = glob.glob) -> list[str]:
    """The paths that a pattern stands for, in order: braces as WebDataset and shells have them, `*`, `?` and `[...]`.

    A path that exists stands for itself, whatever it is called; so does one without a pattern. A pattern with `*`
    stands for the files that are there.

    Args:
        pattern: a path or an address.
        match: gives what matches a pattern with `*`.

    Raises:
        UsageError: a pattern that stands for too many.

    >>> expanded("cats-{08..11}.tar"), expanded("{a,b}.tar")
    (['cats-08.tar', 'cats-09.tar', 'cats-10.tar', 'cats-11.tar'], ['a.tar', 'b.tar'])
    """
    text = os.fspath(pattern)
    if os.path.lexists(text):
        return [text]
    found: list[str] = []
    for name in _without_braces(text):
        found += sorted(match(name)) if glob.has_magic(name) else [name]
    return found


def _without_braces(text: str) -> Iterator[str]:
    """The names that a pattern with braces stands for: `{a,b}`, and `{08..11}` with as many digits as the first."""
    parts = _BRACES.split(text)
    choices: list[Sequence[str]] = []
    count = 1
    for i, part in enumerate(parts):
        choices.append([part] if i % 2 == 0 else _choices(part))
        count *= len(choices[-1])
        if count > _MOST_NAMES:
            raise UsageError(f"{printable(text)}: stands for more than {_MOST_NAMES:,} files; name fewer")
    return map("".join, product(*choices))


def _choices(inside: str) -> Sequence[str]:
    if found := _RANGE.fullmatch(inside):
        first, last = int(found[1]), int(found[2])
        if last - first > _MOST_NAMES:
            raise UsageError(f"{{{inside}}}: stands for more than {_MOST_NAMES:,} files; name fewer")
        return [str(number).zfill(len(found[1])) for number in range(first, last + 1)]
    return inside.split(",") if "," in inside else [f"{{{inside}}}"]
