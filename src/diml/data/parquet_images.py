"""Images in a column of a Parquet file, read by row groups, a few rows at a time."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from diml.data.gathered import Gathered
from diml.data.image_tables import (
    BYTES,
    FIRST,
    PATH,
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
from diml.data.located import Container, Located, UnusableError, check_bytes
from diml.data.printable import printable
from diml.errors import DatasetError, DimlError, first_line

MAGIC = b"PAR1"
# Rows of images that are decoded at once, and bytes of those that are kept for readers that come a little later.
_ROWS, _KEPT = 16, 64 * 2**20
# Bytes that are read of a column at once: without this, all that a row group has of it.
_BUFFER = 2**20


@dataclass(frozen=True)
class ImageColumn:
    """The column of a Parquet file that holds its images."""

    file: Container
    column: str


@dataclass(frozen=True, slots=True)
class ParquetImage(Located):
    """The image in a row of a Parquet file; the first row is 0."""

    table: ImageColumn
    row: int
    path: str

    @property
    def name(self) -> str:
        return f"{self.table.file.name}/{printable(self.path)}"

    @property
    def size(self) -> int | None:
        return None

    @property
    def mtime_ns(self) -> int:
        return self.table.file.mtime_ns

    @property
    def distant(self) -> bool:
        return False  # rows are read one after the other, as they lie in their file

    def content(self) -> bytes:
        cell = _reader(self.table, os.getpid()).cell(self.row)
        data = bytes_of(cell)
        if data is None:
            raise UnusableError(f"is empty: row {self.row} (counted from 0) has no bytes in {self.table.column}")
        check_bytes(len(data))
        return data


def parquet_layout(file: Container) -> Layout | None:
    """What the columns of a Parquet file hold, if it holds images; None if it is a table of texts.

    Raises:
        DatasetError: it cannot be read.
    """
    with _opened(file) as table:
        schema = table.schema_arrow
        for name in image_columns(schema):
            cells = next(table.iter_batches(FIRST, columns=[name]), None)
            if cells is not None and any(map(is_image, cells.column(0).to_pylist())):
                return layout(schema, name)
    return None


def gather_parquet(file: Container, path: str, found: Layout, into: Gathered) -> None:
    """Add the images of a Parquet file; no image is read.

    Args:
        file: the Parquet file.
        path: its own, relative to the collection: the paths of its images begin with it.
        found: what its columns hold.
        into: receives the images, in the order of the rows, and what was left out.

    Raises:
        DatasetError: it cannot be read, or has two images of one path.
    """
    column = ImageColumn(file, found.image)
    # Repeated texts are stored once, and are not to be multiplied before they are counted.
    with _opened(file, found.columns) as table:
        named = is_named(file.name, found, lambda: _batches(table, [found.path], found), into)
        rows = Rows(file.name, path, found, named, into)
        at = 0
        for batch in _batches(table, found.read, found) if found.read else [_nothing(table.metadata.num_rows)]:
            rows.take(batch, ((column, at + i) for i in range(batch.num_rows)), ParquetImage)
            at += batch.num_rows
    note_left_out(file.name, found, into)


def _batches(table: pq.ParquetFile, columns: list[str], found: Layout) -> Iterator[pa.RecordBatch]:
    """Some columns, a few thousand rows at a time; a path in a struct as a column of its own."""
    for batch in table.iter_batches(TEXT_ROWS, columns=columns):
        if found.path in columns and found.path not in found.columns:
            path = pc.struct_field(batch.column(found.image), PATH)
            plain = [name for name in batch.schema.names if name != found.image]
            yield pa.record_batch([*(batch.column(name) for name in plain), path], names=[*plain, found.path])
        else:
            yield batch


def _nothing(rows: int) -> pa.RecordBatch:
    """Rows of a table of which nothing but the images is known."""
    return pa.record_batch([pa.nulls(rows)], names=[""])


@contextmanager
def _opened(file: Container, coded: Sequence[str] = ()) -> Iterator[pq.ParquetFile]:
    form = {"read_dictionary": list(coded), "buffer_size": _BUFFER, "pre_buffer": False}
    try:
        with file.open() as opened, pq.ParquetFile(opened, **form) as table:
            yield table
    except DimlError:
        raise
    except UnusableError as reason:
        raise DatasetError(f"{file.name}: {reason}") from None
    # On arbitrary bytes the reader raises errors of many types.
    except Exception as error:
        raise DatasetError(
            f"{file.name}: is not a Parquet file that can be read ({printable(first_line(error))}); write it again"
        ) from None


class _Reader:
    """Reads cells of one column of one file, fast where they are asked for in their order.

    Rows before the last that was asked for are decoded again from the start of their row group, except those that were
    read of late.
    """

    def __init__(self, table: ImageColumn) -> None:
        self._file = pq.ParquetFile(table.file.open(), buffer_size=_BUFFER, pre_buffer=False)
        self._column = f"{table.column}.{BYTES}" if self._nested(table.column) else table.column
        about = self._file.metadata
        sizes = (about.row_group(i).num_rows for i in range(about.num_row_groups))
        self._starts = [0, *accumulate(sizes)]
        self._lock = threading.Lock()
        self._batches: Iterator[pa.RecordBatch] = iter(())
        # The row group that is being read, and the next row of it.
        self._group, self._next = -1, 0
        self._late: deque[tuple[int, pa.Array]] = deque()
        self._held = 0

    def _nested(self, column: str) -> bool:
        return bool(pa.types.is_struct(self._file.schema_arrow.field(column).type))

    def cell(self, row: int) -> Any:
        """The value in a row."""
        with self._lock:
            for start, cells in self._late:
                if start <= row < start + len(cells):
                    return cells[row - start].as_py()
            if not self._starts[max(self._group, 0)] <= self._next <= row < self._starts[self._group + 1]:
                self._begin(row)
            while True:
                cells = next(self._batches).column(0)
                start, self._next = self._next, self._next + len(cells)
                self._keep(start, cells)
                if row < self._next:
                    return cells[row - start].as_py()

    def _begin(self, row: int) -> None:
        """Start at the row group of a row."""
        self._group = next(i for i, end in enumerate(self._starts[1:]) if row < end)
        self._next = self._starts[self._group]
        self._batches = self._file.iter_batches(_ROWS, [self._group], [self._column])

    def _keep(self, start: int, cells: pa.Array) -> None:
        self._late.append((start, cells))
        self._held += cells.nbytes
        while self._held > _KEPT and len(self._late) > 1:
            self._held -= self._late.popleft()[1].nbytes


@lru_cache(maxsize=8)
def _reader(table: ImageColumn, process: int) -> _Reader:
    """The reader of a file in this process: a process that was forked opens it anew."""
    return _Reader(table)
