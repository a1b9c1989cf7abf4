"""Several tables that are read as one: the rows of each, joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diml.errors import StoreError
from diml.matching.kernels.coded_maps import TAG
from diml.search.codes import Decoder
from diml.search.codes.joined import JoinedCodec
from diml.search.codes.sketches import Sketches
from diml.search.row_form import fixed_lists
from diml.search.schema import CODE, SHARD
from diml.search.store import READS, Store, is_of_engine
from diml.search.stored_maps import matrix
from diml.search.stored_rows import StoredRows
from diml.search.unreadable import is_missing, unreadable

# Tables that are read at the same time; more wait for the same disk and cores.
TOGETHER = 8

T = TypeVar("T")


class Shards(StoredRows):
    """The tables of several indices that are alike, each of other images. Rows say in `SHARD` which index they are of.

    Where the codes of the maps have centroids of their own in each index, a code also says which index it is of, so
    that `codec` reads it by the right ones.

    Args:
        tables: at least two, of one form and with the same columns.
        names: of the tables, each of its own.
        one_codec: whether the codes of all tables, if there are any, are read by the same numbers.

    Raises:
        StoreError: while it is read: an image is in two of the tables. That is noticed where both rows are read.
    """

    def __init__(self, tables: Sequence[Store], names: Sequence[str], one_codec: bool) -> None:
        self._tables = tuple(tables)
        self.names = tuple(names)
        codecs = [table.codec for table in tables if table.codec is not None]
        self._tagged = bool(codecs) and not one_codec
        self._codec: Decoder | None = JoinedCodec(codecs) if self._tagged else tables[0].codec
        self._schema = self._with_own(0, self.tables[0].schema.empty_table()).schema

    @property
    def tables(self) -> Sequence[Store]:
        return self._tables

    @property
    def name(self) -> str:
        return listed([table.name for table in self.tables])

    @property
    def title(self) -> str:
        return listed([table.title for table in self.tables])

    @property
    def codec(self) -> Decoder | None:
        return self._codec

    @property
    def sketches(self) -> Sketches | None:
        return self.tables[0].sketches

    @property
    def schema(self) -> pa.Schema:
        return self._schema

    def counts(self, where: str | None = None) -> list[int]:
        return self.of_each(lambda table: table.count(where))

    def scan(self, columns: list[str], where: str | None = None) -> pa.Table:
        stored = [name for name in columns if name != SHARD]
        return self.joined(lambda table: table.scan(stored, where)).select(columns)

    def batches(self, columns: list[str], where: str | None, size: int) -> Iterator[pa.Table]:
        for at, table in enumerate(self.tables):
            try:
                for batch in table.batches(columns, where, size):
                    yield self._with_own(at, batch).select(columns)
            except BaseException as error:
                if not is_of_engine(error):
                    raise
                raise _FailedTable(table, error) from error

    def of_each(self, ask: Callable[[Store], T]) -> list[T]:
        # Threads that do not outlive the question: an index is never closed, and a process may fork.
        with ThreadPoolExecutor(min(len(self.tables), TOGETHER), thread_name_prefix="diml-shard") as threads:
            return list(threads.map(ask, self.tables))

    def joined(self, ask: Callable[[Store], pa.Table]) -> pa.Table:
        found = [self._with_own(at, rows) for at, rows in enumerate(self.of_each(ask))]
        columns = found[0].column_names  # which may have another order in another table
        rows = pa.concat_tables([each.select(columns) for each in found])
        if "id" in columns and pc.count_distinct(rows["id"]).as_py() < len(rows):
            self._refuse_twice(rows["id"], rows[SHARD])
        return rows

    def first(self, count: int) -> pa.Table:
        columns = self.tables[0].schema.names
        parts = [table.first(count).select(columns) for table in self.tables]
        return pa.concat_tables(parts)[:count]

    def read(self, ask: Callable[[], T]) -> T:
        for attempt in range(READS):
            try:
                return ask()
            except _FailedTable as failed:
                if attempt + 1 == READS or not is_missing(failed.error):
                    raise unreadable(failed.table.folder, failed.error) from failed.error
        raise AssertionError("unreachable")

    def has_graph(self) -> bool:
        return any(self.of_each(lambda table: table.has_graph()))

    def check_distinct(self) -> None:
        """It reads all ids."""
        self.scan(["id"])

    def _with_own(self, at: int, rows: pa.Table) -> pa.Table:
        """Rows of one table with its name, and its number in codes that are read by its own centroids."""
        if self._tagged and CODE in rows.column_names:
            tag = np.full((len(rows), TAG), np.frombuffer(at.to_bytes(TAG, "little"), np.uint8), np.uint8)
            codes = fixed_lists(np.concatenate([matrix(rows, CODE), tag], axis=1))
            place = rows.schema.get_field_index(CODE)
            rows = rows.set_column(place, pa.field(CODE, codes.type, rows.schema.field(place).nullable), codes)
        return rows.add_column(0, SHARD, pa.repeat(pa.scalar(self.names[at], pa.string()), len(rows)))

    def _refuse_twice(self, ids: pa.ChunkedArray, shards: pa.ChunkedArray) -> None:
        counted = pc.value_counts(ids)
        twice = min(each["values"] for each in counted.filter(pc.greater(counted.field("counts"), 1)).to_pylist())
        holders = [self.names.index(name) for name in shards.filter(pc.equal(ids, twice)).to_pylist()]
        tables = [self.tables[at] for at in holders[:2]]
        path = tables[0].scan(["path"], f"id = '{twice}'")["path"].to_pylist()
        where = " and in ".join(table.name for table in tables)
        raise StoreError(
            f"{path[0] if path else twice} is in {where}; an image is known by its path, so remove it from one of them"
        )


class _FailedTable(Exception):  # noqa: N818 -- ends a reading, which is tried again
    """The engine failed to read one of the tables."""

    def __init__(self, table: Store, error: BaseException) -> None:
        super().__init__(str(error))
        self.table, self.error = table, error


def listed(names: Sequence[str]) -> str:
    """Names in one line, many of them shortened.

    >>> listed(["a.diml", "b.diml"]), listed([f"{i}.diml" for i in range(5)])
    ('a.diml, b.diml', '0.diml, 1.diml and 3 more')
    """
    shown = ", ".join(names[:3] if len(names) == 3 else names[:2])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 2} more"
