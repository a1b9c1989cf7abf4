"""Several indices under one name, as `diml serve --shards` takes them."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from diml.errors import UsageError
from diml.search.places import Place, index_place

FORM = "NAME=INDEX,INDEX,..."


def sharded(text: str) -> tuple[str, tuple[Place, ...]]:
    """The name and the indices of a text such as `photos=a.diml,b.diml`; a path of this machine may have
    wildcards.

    Raises:
        UsageError: it has another form, or no index matches.

    >>> sharded("photos=a.diml,b.diml")
    ('photos', (PosixPath('a.diml'), PosixPath('b.diml')))
    """
    name, equals, listed = text.partition("=")
    given = [each for each in listed.split(",") if each]
    if not equals or not name or "/" in name or not given:
        raise UsageError(f"expected shards as {FORM}, such as photos=a.diml,b.diml, got {text!r}")
    return name, tuple(path for each in given for path in _matching(index_place(each)))


def _matching(path: Place) -> Sequence[Place]:
    """The path, or in order of their names the folders that match it where it has wildcards."""
    if not isinstance(path, Path) or path.exists() or not glob.has_magic(str(path)):
        return [path]
    found = sorted(Path(each) for each in glob.glob(str(path)) if Path(each).is_dir())
    if not found:
        raise UsageError(f"no index matches {path}; check the path, and quote it so that the shell leaves it")
    return found
