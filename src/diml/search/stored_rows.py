"""What is read of the images of an index, be they in one table or in several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from diml.errors import StoreError
from diml.search.codes import Decoder
from diml.search.codes.sketches import Sketches
from diml.search.schema import CODE, LARGE, MAP, PLAIN, SHARD

if TYPE_CHECKING:
    from diml.search.store import Store

# Ids in one condition.
CHUNK = 2048

T = TypeVar("T")


class StoredRows(ABC):
    """The rows of one table (`Store`) or of several (`Shards`). Reading needs no lock; threads may share it."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Of the index, as messages call it: its folder."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The folder's own name."""

    @property
    @abstractmethod
    def codec(self) -> Decoder | None:
        """Of the maps; None where they are stored in float16."""

    @property
    @abstractmethod
    def sketches(self) -> Sketches | None:
        """Of the maps; None without any."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Of `rows`."""

    @abstractmethod
    def counts(self, where: str | None = None) -> list[int]:
        """Number of rows of each table, or of those that meet a condition.

        Raises:
            UsageError: the condition cannot be used.
        """

    @abstractmethod
    def scan(self, columns: list[str], where: str | None = None) -> pa.Table:
        """Some columns of all rows, or of those that meet a condition."""

    @abstractmethod
    def batches(self, columns: list[str], where: str | None, size: int) -> Iterator[pa.Table]:
        """The same in batches of at most `size` rows, to be run by `read`."""

    @property
    @abstractmethod
    def tables(self) -> Sequence[Store]:
        """One or several."""

    @abstractmethod
    def of_each(self, ask: Callable[[Store], T]) -> list[T]:
        """What each table answers."""

    @abstractmethod
    def joined(self, ask: Callable[[Store], pa.Table]) -> pa.Table:
        """What each table answers, as one table; what is asked for has the columns of the table, and perhaps others."""

    @abstractmethod
    def first(self, count: int) -> pa.Table:
        """Some rows, at most `count`."""

    @abstractmethod
    def read(self, ask: Callable[[], T]) -> T:
        """Run a query, again if a writer that compacted a table has removed its files."""

    @abstractmethod
    def has_graph(self) -> bool:
        """Whether a search may use a graph."""

    @abstractmethod
    def check_distinct(self) -> None:
        """Check that every image is stored once.

        Raises:
            StoreError: one is in two tables.
        """

    @property
    def map_column(self) -> str:
        """Where the maps are: as they are, or as codes."""
        return MAP if self.codec is None else CODE

    @property
    def columns(self) -> list[str]:
        """Names of the user's further columns."""
        return [name for name in self.schema.names if name not in (*PLAIN, *LARGE, SHARD)]

    def count(self, where: str | None = None) -> int:
        """Number of rows, or of those that meet a condition.

        Raises:
            UsageError: the condition cannot be used.
        """
        return sum(self.counts(where))

    def ids(self, where: str | None = None) -> set[str]:
        """The ids of all rows, or of those that meet a condition."""
        return set(self.scan(["id"], where)["id"].to_pylist())

    def ids_among(self, ids: Iterable[str]) -> set[str]:
        """Which of these ids are stored."""
        return {id for where in in_chunks(sorted(ids)) for id in self.scan(["id"], where)["id"].to_pylist()}

    def labels(self) -> list[str | None]:
        """The distinct labels, sorted."""
        found = pc.unique(self.scan(["label"])["label"]).to_pylist()
        return sorted(label for label in found if label is not None)

    def rows(self, ids: Sequence[str]) -> pa.Table:
        """The rows of these ids that are stored, in any order."""
        schema = self.schema
        parts = [self.scan(schema.names, where).cast(schema) for where in in_chunks(ids)]
        return pa.concat_tables(parts) if parts else schema.empty_table()

    def rows_in_order(self, ids: Sequence[str], columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of these ids, in their order; an id may be repeated.

        Args:
            ids: of the rows.
            columns: besides the id; by default all.

        Raises:
            StoreError: one of them is not stored any more.
        """
        once = sorted(set(ids))
        rows = self.rows(once) if columns is None else self.scan_ids(["id", *columns], once)
        place = {id: at for at, id in enumerate(rows["id"].to_pylist())}
        if gone := [id for id in ids if id not in place]:
            raise StoreError(f"{gone[0]} was removed from {self.name} while it was read; ask again")
        return rows.take(pa.array([place[id] for id in ids], pa.int64()))

    def scan_ids(self, columns: list[str], ids: Sequence[str]) -> pa.Table:
        """Some columns of the rows of these ids that are stored, in any order."""
        return pa.concat_tables([self.scan(columns, where) for where in in_chunks(ids or [""])])


def in_chunks(ids: Sequence[str]) -> Iterator[str]:
    """Conditions that the ids meet, each of so many as a condition may hold.

    >>> list(in_chunks(["c20dca593997b815"]))
    ["id IN ('c20dca593997b815')"]
    """
    for start in range(0, len(ids), CHUNK):
        yield "id IN ('" + "','".join(ids[start : start + CHUNK]) + "')"
