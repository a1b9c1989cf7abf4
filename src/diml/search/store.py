"""The store: one LanceDB table, and all that an index reads from it and writes to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswFlat

from diml.errors import StoreError, UsageError
from diml.search.codes import Codec
from diml.search.codes.sketches import Sketches
from diml.search.conditions import as_condition, engine_reason
from diml.search.manifest import TABLE
from diml.search.places import Place
from diml.search.row_form import FLOAT16_ROWS, RowForm
from diml.search.schema import PLAIN
from diml.search.stored_rows import CHUNK, StoredRows, in_chunks
from diml.search.unreadable import is_missing, unreadable

# How often a read is tried: a writer that compacts the table removes files of a version that is being read.
READS = 5
# Number of small commits at which they are compacted.
FRAGMENTS = 16
_LANCE_ERRORS = (RuntimeError, OSError, ValueError)

T = TypeVar("T")


class Known(NamedTuple):
    """What is stored about an image except what was computed from it; `meta` holds its label and further columns."""

    path: str
    hash: str
    bytes: int
    mtime_ns: int
    meta: dict[str, str | None]


class Store(StoredRows):
    """A table of images in a folder. Methods that write must be called under the lock of the index; reading needs no
    lock.

    Attributes:
        form: in which maps and pictures are stored.
    """

    def __init__(self, folder: Place, table: Any, form: RowForm) -> None:
        self.folder = folder
        self.form = form
        self._table = table

    @classmethod
    def create(cls, folder: Place, schema: pa.Schema, form: RowForm = FLOAT16_ROWS) -> Store:
        try:
            return cls(folder, cls.connect(folder).create_table(TABLE, schema=cls.stored_schema(schema)), form)
        except _LANCE_ERRORS as error:
            raise StoreError(f"{folder} cannot be written: {engine_reason(error)}") from error

    @classmethod
    def open(cls, folder: Place, at_least: int = 0, form: RowForm = FLOAT16_ROWS) -> Store:
        """Open the table and check that all of its data is there.

        Raises:
            StoreError: the table cannot be read, or its version is older than `at_least`.
        """
        try:
            store = cls(folder, cls.connect(folder).open_table(TABLE), form)
        except _LANCE_ERRORS as error:
            raise unreadable(folder, error) from error
        if store.version < at_least:
            raise StoreError(
                f"{folder} was copied in part: its table is at version {store.version} instead of {at_least}; "
                "copy the index again"
            )
        # Unlike opening, this reads from every data file.
        store.read(lambda: store._table.count_rows("id = ''"))
        return store

    @classmethod
    def connect(cls, folder: Place) -> Any:
        """A connection to the tables in a folder."""
        assert isinstance(folder, Path)
        # Without this interval a connection never sees the commits of others.
        return lancedb.connect(folder, read_consistency_interval=timedelta(0))

    @classmethod
    def stored_schema(cls, schema: pa.Schema) -> pa.Schema:
        """The schema of a new table, with what it says to the engine."""
        return schema

    @property
    def name(self) -> str:
        return str(self.folder)

    @property
    def title(self) -> str:
        return self.folder.name

    @property
    def codec(self) -> Codec | None:
        return self.form.codec

    @property
    def sketches(self) -> Sketches | None:
        return self.form.sketches

    @property
    def version(self) -> int:
        return int(self.read(lambda: self._table.version))

    @property
    def schema(self) -> pa.Schema:
        return self.read(lambda: self._table.schema)

    # Reading

    def counts(self, where: str | None = None) -> list[int]:
        if where is None:
            return [int(self.read(self._table.count_rows))]
        try:
            return [int(self.read(lambda: self._table.count_rows(as_condition(where))))]
        except StoreError as error:
            if error.__cause__ is None or is_missing(error.__cause__):
                raise
            raise UsageError(self._wrong_where(where, error.__cause__)) from error

    def known(self, ids: Collection[str] | None = None) -> dict[str, Known]:
        """What is stored about each image, or about those of these ids, by id."""
        metas = ["label", *self.columns]
        names = ["id", "path", "hash", "bytes", "mtime_ns", *metas]
        rows = self.scan(names) if ids is None else self.scan_ids(names, sorted(ids))
        lists = [rows[name].to_pylist() for name in ("id", "path", "hash", "bytes", "mtime_ns")]
        meta = zip(*(rows[name].to_pylist() for name in metas), strict=True)
        return {
            id: Known(path, hash, size, mtime, dict(zip(metas, values, strict=True)))
            for (id, path, hash, size, mtime), values in zip(zip(*lists, strict=True), meta, strict=True)
        }

    def cosine_query(self, vector: np.ndarray, limit: int, where: str | None) -> Any:
        """LanceDB's query for the rows with the largest cosine to a vector (dim,), to be run with `read`."""
        search = self.read(lambda: self._table.search(vector, vector_column_name="pooled"))
        query = search.distance_type("cosine").limit(limit)
        return query if where is None else query.where(as_condition(where), prefilter=True)

    @property
    def tables(self) -> Sequence[Store]:
        return (self,)

    def of_each(self, ask: Callable[[Store], T]) -> list[T]:
        return [ask(self)]

    def joined(self, ask: Callable[[Store], pa.Table]) -> pa.Table:
        return ask(self)

    def check_distinct(self) -> None:
        """Those who write take care of it."""

    def scan(self, columns: list[str], where: str | None = None) -> pa.Table:
        def ask() -> pa.Table:
            query = self._table.search().select(columns).limit(None)
            return (query if where is None else query.where(as_condition(where))).to_arrow()

        return self.read(ask)

    def first(self, count: int) -> pa.Table:
        rows: pa.Table = self.read(lambda: self._table.search().limit(count).to_arrow())
        return rows

    def batches(self, columns: list[str], where: str | None, size: int) -> Iterator[pa.Table]:
        query = self._table.search().select(columns).limit(None)
        query = query if where is None else query.where(as_condition(where))
        for batch in query.to_batches(size):
            yield pa.table(batch)

    def read(self, ask: Callable[[], T]) -> T:
        for attempt in range(READS):
            try:
                return ask()
            except BaseException as error:
                if not is_of_engine(error):
                    raise
                if attempt + 1 == READS or not is_missing(error):
                    raise unreadable(self.folder, error) from error
        raise AssertionError("unreachable")

    def _wrong_where(self, where: str, error: BaseException) -> str:
        names = ", ".join([*PLAIN[:3], *self.columns, *PLAIN[3:]])
        reason = engine_reason(error, where)
        return (
            f"the condition {where!r} cannot be used ({reason}); expected SQL on the columns {names}, "
            "such as \"label = 'cat'\""
        )

    # Writing

    def put(self, rows: pa.Table, replacing: bool) -> int:
        """Add rows in one commit; with `replacing`, instead of stored rows of the same ids.

        Returns:
            How many were stored.
        """
        if replacing:
            merge = self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            self._write(lambda: merge.execute(rows))
        else:
            self._write(lambda: self._table.add(rows))
        return len(rows)

    def amend(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Set single columns of stored rows: id -> column -> value. Whole rows are rewritten."""
        ids = sorted(changes)
        for start in range(0, len(ids), CHUNK):
            part = ids[start : start + CHUNK]
            self.put(amended(self.rows(part), changes), replacing=True)

    def delete(self, ids: Sequence[str]) -> None:
        for where in in_chunks(sorted(ids)):
            self._write(lambda where=where: self._table.delete(where))

    def tidy(self, exact_limit: int, changed: int = 0) -> None:
        """Compact small commits, and build or refresh the graph if the table is too large for exact search."""
        rows = self.count()
        stale = self._unindexed() if rows > exact_limit else 0
        if stale is None:
            graph = HnswFlat(distance_type="cosine", num_partitions=1)
            self._write(lambda: self._table.create_index("pooled", config=graph))
        fragments = self.read(self._table.stats)["fragment_stats"]["num_fragments"]
        if fragments > FRAGMENTS or changed > rows // 10 or (stale or 0) > rows // 20:
            self._optimize()

    def _optimize(self) -> None:
        # Old versions are removed immediately; otherwise the table would need twice its space until the next time. The
        # lock excludes other writers, and a reader whose files are removed tries again (see `read`).
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            self._write(lambda: self._table.optimize(cleanup_older_than=timedelta(0)))

    def has_graph(self) -> bool:
        return any(index.columns == ["pooled"] for index in self.read(self._table.list_indices))

    def _unindexed(self) -> int | None:
        """Number of rows that the graph does not contain yet; None without a graph."""
        graphs = [index for index in self.read(self._table.list_indices) if index.columns == ["pooled"]]
        return int(graphs[0].num_unindexed_rows) if graphs else None

    def _write(self, change: Callable[[], Any]) -> None:
        try:
            change()
        except _LANCE_ERRORS as error:
            raise StoreError(f"{self.folder} cannot be written: {engine_reason(error)}") from error


def amended(rows: pa.Table, changes: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """Rows with single values replaced: id -> column -> value."""
    ids = rows["id"].to_pylist()
    for name in {name for change in changes.values() for name in change}:
        field = rows.schema.field(name)
        values = [changes[id].get(name, old) for id, old in zip(ids, rows[name].to_pylist(), strict=True)]
        rows = rows.set_column(rows.schema.get_field_index(name), field, pa.array(values, field.type))
    return rows


def is_of_engine(error: BaseException) -> bool:
    """Whether an exception comes from the engine; its panics have types of their own, outside of Python's."""
    return isinstance(error, _LANCE_ERRORS) or type(error).__name__ in ("RustPanic", "PanicException")
