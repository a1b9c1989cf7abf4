"""Images in a column of a Lance dataset."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa

from diml.data.containers import LANCE
from diml.data.gathered import Gathered
from diml.data.image_tables import (
    FIRST,
    TEXT_ROWS,
    Layout,
    Rows,
    bytes_of,
    image_columns,
    is_image,
    is_named,
    layout,
    note_left_out,
)
from diml.data.located import Located, UnusableError, check_bytes
from diml.data.object_files import is_url
from diml.data.printable import printable
from diml.errors import DatasetError, first_line

_ROW = "_rowid"


@dataclass(frozen=True)
class LanceColumn:
    """The column of a Lance dataset that holds its images, at one version of the dataset.

    Attributes:
        place: the dataset, a folder or an address whose name ends in `.lance`.
        version: of the dataset; later commits change nothing of what is read.
        mtime_ns: when this version was committed.
        column: of the images.
    """

    place: str
    version: int
    mtime_ns: int
    column: str


@dataclass(frozen=True, slots=True)
class LanceImage(Located):
    """The image in a row of a Lance dataset, by the row's id."""

    table: LanceColumn
    row: int
    path: str

    @property
    def name(self) -> str:
        return f"{printable(self.table.place)}/{printable(self.path)}"

    @property
    def size(self) -> int | None:
        return None

    @property
    def mtime_ns(self) -> int:
        return self.table.mtime_ns

    @property
    def distant(self) -> bool:
        return is_url(self.table.place)

    def content(self) -> bytes:
        try:
            table = _table(self.table.place, self.table.version, os.getpid())
            rows = table.take_row_ids([self.row]).select([self.table.column]).to_arrow()
        # The engine raises errors of many types.
        except Exception as error:
            raise UnusableError(
                f"cannot be read from its dataset ({printable(first_line(error))}); run the same command again"
            ) from None
        data = bytes_of(rows.column(self.table.column)[0].as_py()) if len(rows) else None
        if data is None:
            raise UnusableError(f"is empty: its row has no bytes in {self.table.column}")
        check_bytes(len(data))
        return data


def gather_lance(place: str, path: str, into: Gathered) -> None:
    """Add the images of a Lance dataset; no image is kept.

    Args:
        place: the dataset, whose name ends in `.lance`.
        path: its own, relative to the collection: the paths of its images begin with it.
        into: receives the images, in the order of the rows, and what was left out.

    Raises:
        DatasetError: it cannot be read, holds no images, or has two images of one path.
    """
    with _explained(place):
        table = _open(place)
        version = int(table.version)
        table.checkout(version)
        found = _layout(table)
        if found is None:
            names = printable(", ".join(table.schema.names)) or "none"
            raise DatasetError(
                f"{printable(place)}: has no column of encoded images (columns found: {names}); expected JPEG, PNG and "
                "the like as bytes in a column such as image"
            )
        column = LanceColumn(place, version, _committed(table, version), found.image)
        named = is_named(printable(place), found, lambda: _batches(table, [found.path]), into)
        rows = Rows(printable(place), path, found, named, into)
        for batch in _batches(table, found.read):
            rows.take(batch, ((column, row) for row in batch.column(_ROW).to_pylist()), LanceImage)
    note_left_out(printable(place), found, into)


def _layout(table: Any) -> Layout | None:
    schema = table.schema
    for name in image_columns(schema):
        cells = table.search().select([name]).limit(FIRST).to_arrow().column(name)
        if any(map(is_image, cells.to_pylist())):
            return layout(schema, name)
    return None


def _batches(table: Any, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Some columns of all rows, and the ids of the rows."""
    yield from table.search().select([*columns, _ROW]).limit(None).to_batches(TEXT_ROWS)


def _committed(table: Any, version: int) -> int:
    """When a version was committed, in nanoseconds since 1970."""
    stamp: datetime = next(each["timestamp"] for each in table.list_versions() if each["version"] == version)
    return round(stamp.timestamp() * 1e6) * 1000


def _open(place: str) -> Any:
    import lancedb

    folder, _, name = place.rpartition("/")
    return lancedb.connect(folder or "/").open_table(name.removesuffix(LANCE))


@lru_cache(maxsize=8)
def _table(place: str, version: int, process: int) -> Any:
    """The dataset at a version, opened once in each process."""
    table = _open(place)
    table.checkout(version)
    return table


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except DatasetError:
        raise
    # The engine raises errors of many types, some of its own outside of Python's.
    except Exception as error:
        raise DatasetError(
            f"{printable(place)}: is not a Lance dataset that can be read ({printable(first_line(error))}); copy it "
            "again, or write it again"
        ) from None
