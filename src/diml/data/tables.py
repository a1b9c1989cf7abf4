"""Tables that list image files: read, and their header and rows checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diml.data.listed_paths import inside
from diml.data.printable import printable
from diml.data.table_formats import Rows, read_rows
from diml.errors import DatasetError

Values = Mapping[str, str | None]

# Names that pandas gives to the numbers of rows, when it writes them or reads them back.
_ROW_NUMBERS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")


@dataclass(frozen=True)
class ListedImage:
    """An image in a table: its path relative to the table's folder, the values of its columns, and its line."""

    path: str
    values: Values
    line: int


@dataclass(frozen=True)
class Table:
    """A list of images.

    Attributes:
        source: the file.
        columns: the columns except `path`; every row has a value (or None) for each.
        rows: the images.
        unit: what the rows are numbered by: "line" or "row".
        notes: sentences on columns that are left out.
    """

    source: Path
    columns: list[str]
    rows: list[ListedImage]
    unit: str = "line"
    notes: list[str] = field(default_factory=list)

    def where(self, row: ListedImage) -> str:
        """The place of a row, for a reason."""
        return f"is on {self.unit} {row.line} of {printable(self.source.name)}"

    def by_path(self, located: list[tuple[str, ListedImage]]) -> dict[str, ListedImage]:
        """The rows by the paths under which their files were found.

        Raises:
            DatasetError: two rows name one file.
        """
        rows: dict[str, ListedImage] = {}
        for path, row in located:
            first = rows.setdefault(path, row)
            if first is not row:
                raise DatasetError(
                    f"{printable(self.source)}: names {printable(path)} twice, on {self.unit}s {first.line} and "
                    f"{row.line}; remove one of them"
                )
        return rows

    def columns_of(self, rows: list[Values]) -> dict[str, list[str | None]]:
        """The values of each column."""
        return {name: [values[name] for values in rows] for name in self.columns}

    def whole_column(self, name: str, values: list[str | None] | None) -> list[str] | None:
        """The values of a column, None if there are none.

        Raises:
            DatasetError: only some of the images have a value.
        """
        given = [value for value in values or [] if value is not None]
        if values and given and len(given) < len(values):
            raise DatasetError(
                f"{printable(self.source)}: the column {name} is empty for {len(values) - len(given)} of {len(values)} "
                "images; fill it for all or for none"
            )
        return given or None


def read_table(source: Path, required: tuple[str, ...] = ("path", "label"), root: Path | None = None) -> Table:
    """Read a table (UTF-8, a header row) that has at least the required columns, see `read_rows`.

    Columns without a name, as pandas writes the numbers of rows, are left out.

    Args:
        source: the file.
        required: columns that it must have.
        root: the folder that its paths are relative to; by default the table's own.

    Raises:
        UsageError: there is no such file, or it is not a regular file.
        DatasetError: it is not such a table, or a path in it leads out of its folder.
    """
    read = read_rows(source)
    header = [name.strip() for name in read.header]
    named = [name for name in header if not _ROW_NUMBERS.fullmatch(name)]
    _check_header(source, named, required)
    place = (source.parent, "the folder of the table") if root is None else (root, "the folder of the images")
    rows = list(_rows(source, header, read, place))
    notes = list(_notes(source, header, read))
    return Table(source, [name for name in named if name != "path"], rows, read.unit, notes)


def _check_header(source: Path, header: list[str], required: tuple[str, ...]) -> None:
    missing = [name for name in required if name not in header]
    if missing:
        found = printable(", ".join(header)) or "none"
        between = "; its cells are to be separated by commas" if len(header) == 1 and ";" in header[0] else ""
        raise DatasetError(
            f"{printable(source)}: has no column {' and no column '.join(missing)} (columns found: {found}); "
            f"expected a first line such as {','.join(required)}{between}"
        )
    double = [name for i, name in enumerate(header) if name in header[:i]]
    if double:
        raise DatasetError(f"{printable(source)}: has the column {printable(double[0])} twice; rename one of them")


def _rows(source: Path, header: list[str], read: Rows, place: tuple[Path, str]) -> Iterator[ListedImage]:
    for number, raw in read.rows:
        cells = [(cell or "").strip() for cell in raw]
        if not any(cells):
            continue
        where = f"{printable(source)} {read.unit} {number}"
        # A comma at the end of each line adds an empty cell.
        if any(cells[len(header) :]):
            raise DatasetError(f"{where}: has {len(cells)} cells under {len(header)} columns; quote cells with commas")
        values: dict[str, str | None] = {name: None for name in header if not _ROW_NUMBERS.fullmatch(name)}
        values.update((name, cell or None) for name, cell in zip(header, cells, strict=False) if name in values)
        yield ListedImage(inside(values.pop("path") or "", where, *place), values, number)


def _notes(source: Path, header: list[str], read: Rows) -> Iterator[str]:
    """On each column without a name that holds more than numbers of rows."""
    for at, name in enumerate(header):
        if _ROW_NUMBERS.fullmatch(name):
            held = ((cells[at] or "").strip() for _, cells in read.rows if at < len(cells))
            if any(cell and not cell.isdecimal() for cell in held):
                yield f"{printable(source)}: column {at + 1} has no name and is left out; name it to keep it"
