"""Tables that list image files: CSV in, checked rows out."""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from diml.data.images import printable
from diml.errors import DatasetError, UsageError

Values = Mapping[str, str | None]


@dataclass(frozen=True)
class ListedImage:
    """An image in a table: its path relative to the table's folder, the values of its columns, and its line."""

    path: str
    values: Values
    line: int


@dataclass(frozen=True)
class Table:
    """A list of images. `columns` are the columns except `path`; every row has a value (or None) for each."""

    source: Path
    columns: list[str]
    rows: list[ListedImage]


def read_table(source: Path, required: tuple[str, ...] = ("path", "label")) -> Table:
    """Read a CSV file (UTF-8, comma, a header row) that has at least the required columns.

    Raises:
        UsageError: there is no such file, or it is not a regular file.
        DatasetError: it is not such a table, or a path in it leads out of its folder.
    """
    if not os.path.lexists(source):
        raise UsageError(f"{printable(source)}: there is no such file; expected a CSV with the columns path,label")
    if not os.path.isfile(source):
        raise UsageError(f"{printable(source)}: is not a regular file; expected a CSV with the columns path,label")
    try:
        with open(source, encoding="utf-8-sig", newline="") as file:
            return _table(source, csv.reader(file, strict=True), required)
    except UnicodeDecodeError:
        raise DatasetError(f"{printable(source)}: is not UTF-8 text; save the table as UTF-8") from None
    except csv.Error as error:
        raise DatasetError(f"{printable(source)}: is not a CSV table ({error}); check its quotes and commas") from None
    except OSError as error:
        raise DatasetError(f"{printable(source)}: cannot be read ({error.strerror})") from None


def inside(path: str, where: str) -> str:
    """A listed path in normalised POSIX form.

    Raises:
        DatasetError: the path is empty or leads out of the folder of its list.

    >>> inside("./a//b.jpg", "list.csv line 2")
    'a/b.jpg'
    """
    plain = posixpath.normpath(path)
    if not path or plain == ".":
        raise DatasetError(f"{where}: does not name a file; expected a path relative to the folder of the table")
    if plain.startswith("/") or plain == ".." or plain.startswith("../") or "\0" in plain:
        raise DatasetError(
            f"{where}: the path {printable(path)} leads out of the folder of the table; "
            "expected a relative path below it"
        )
    return plain


def _table(source: Path, lines: Iterator[list[str]], required: tuple[str, ...]) -> Table:
    header = [name.strip() for name in next(lines, [])]
    missing = [name for name in required if name not in header]
    if missing:
        found = printable(", ".join(header)) or "none"
        raise DatasetError(
            f"{printable(source)}: has no column {' and no column '.join(missing)} (columns found: {found}); "
            f"expected a first line such as {','.join(required)}"
        )
    double = [name for i, name in enumerate(header) if name in header[:i]]
    if double:
        raise DatasetError(f"{printable(source)}: has the column {printable(double[0])} twice; rename one of them")
    return Table(source, [name for name in header if name != "path"], list(_rows(source, header, lines)))


def _rows(source: Path, header: list[str], lines: Iterator[list[str]]) -> Iterator[ListedImage]:
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        line: int = lines.line_num  # type: ignore[attr-defined]  # csv.reader has no public type
        where = f"{printable(source)} line {line}"
        if len(cells) > len(header):
            raise DatasetError(f"{where}: has {len(cells)} cells under {len(header)} columns; quote cells with commas")
        values: dict[str, str | None] = dict.fromkeys(header)
        values.update((name, cell.strip() or None) for name, cell in zip(header, cells, strict=False))
        yield ListedImage(inside(values.pop("path") or "", where), values, line)
