"""Text files in which data sets list their images: where to find them, and how to read their lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from diml.data.printable import printable
from diml.errors import DatasetError


def root_with(folder: Path, expected: list[str], places: list[str], kind: str) -> Path:
    """The first of `places` below the folder that holds all expected files (and folders, whose names end in "/").

    Raises:
        DatasetError: none of them does; the message lists what was found.
    """
    for place in places:
        root = folder / place
        if all((root / name).is_dir() if name.endswith("/") else (root / name).is_file() for name in expected):
            return root
    raise DatasetError(
        f"{kind}:{printable(folder)}: expected {', '.join(expected)} in it or in its "
        f"{' or '.join(place + '/' for place in places if place)}; found {contents(folder)}"
    )


def contents(folder: Path, most: int = 6) -> str:
    """The first names in a folder, for a message."""
    names = sorted(child.name + "/" * child.is_dir() for child in folder.iterdir())
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(names[:most])) + more if names else "an empty folder"


def read_lines(source: Path, maxsplit: int = -1) -> Iterator[list[str]]:
    """The words of each line that is not empty.

    Raises:
        DatasetError: the file cannot be read as UTF-8 text.
    """
    try:
        for line in source.read_text("utf-8-sig").splitlines():
            if line.strip():
                yield line.strip().split(maxsplit=maxsplit)
    except UnicodeDecodeError:
        raise DatasetError(
            f"{printable(source)}: is not UTF-8 text; expected the list as the data set contains it"
        ) from None
    except OSError as error:
        raise DatasetError(f"{printable(source)}: cannot be read ({error.strerror})") from None


def read_pairs(source: Path) -> Iterator[tuple[str, str]]:
    """The id and the value on each line.

    Raises:
        DatasetError: a line has only one word, or the file cannot be read.
    """
    for line, cells in enumerate(read_lines(source, maxsplit=1), start=1):
        if len(cells) != 2:
            raise DatasetError(f"{at_line(source, line)}: has {len(cells)} words; expected an id and a value")
        yield cells[0], cells[1]


def at_line(source: Path, line: int) -> str:
    """The place of an error, for the beginning of a message."""
    return f"{printable(source)} line {line}"


def first_half(class_ids: Iterable[str]) -> set[str]:
    """The training classes of the benchmarks: the first half of the classes by id.

    >>> sorted(first_half(["1", "2", "10", "11"]))
    ['1', '2']
    """
    try:
        ids = sorted(class_ids, key=int)
    except ValueError as error:
        raise DatasetError(f"a class id is not a number ({error}); expected 1, 2, ... in classes.txt") from None
    return set(ids[: len(ids) // 2])
