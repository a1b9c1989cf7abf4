"""The images of an index, without what was computed from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from diml.errors import UsageError
from diml.search.stored_rows import StoredRows

# Entries that are made at once.
BATCH = 2048


@dataclass(frozen=True)
class Entry:
    """An image of an index.

    Attributes:
        id: of the image in the index.
        path: relative to the collection.
        label: None where the image has none.
        columns: further columns of the collection.
        size: width and height of the original in pixels.
    """

    id: str
    path: str
    label: str | None
    columns: dict[str, str | None]
    size: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "size": list(self.size)}


def entries(store: StoredRows) -> Iterator[Entry]:
    """Every image that is stored now, by path."""
    names = store.columns
    rows = by_path(store, entry_columns(store))
    for batch in rows.to_batches(BATCH):
        for row in batch.to_pylist():
            yield entry_of_row(row, names)


def page(store: StoredRows, where: str | None, offset: int, limit: int) -> list[Entry]:
    """Some of the images that meet a condition, by path."""
    rows = by_path(store, ["path", "id"], where)["id"][offset : offset + limit]
    return entries_of(store, rows.to_pylist())


def entries_of(store: StoredRows, ids: Sequence[str]) -> list[Entry]:
    """The images of these ids, in their order; those that are not stored any more are left out."""
    names = store.columns
    rows = store.scan_ids(entry_columns(store), ids)
    found = {row["id"]: entry_of_row(row, names) for row in rows.to_pylist()}
    return [found[id] for id in ids if id in found]


def value_counts(store: StoredRows, column: str, limit: int) -> tuple[int, list[tuple[str, int]]]:
    """The number of distinct values of a column, and the most frequent ones with their counts, equal counts by value.

    Raises:
        UsageError: there is no such column.
    """
    names = ["label", *store.columns]
    if column not in names:
        raise UsageError(f"expected a column of the index, one of {', '.join(names)}, got {column!r}")
    counts = pc.value_counts(store.scan([column])[column].combine_chunks().drop_null())
    pairs = [(each["values"], each["counts"]) for each in counts.to_pylist()]
    return len(pairs), sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:limit]


def by_path(store: StoredRows, columns: list[str], where: str | None = None) -> pa.Table:
    """Some columns of every image, or of those that meet a condition, ordered by path, equal paths by id."""
    return store.scan(columns, where).sort_by([("path", "ascending"), ("id", "ascending")])


def entry_columns(store: StoredRows) -> list[str]:
    """The columns that an entry is made of."""
    return ["id", "path", "label", "width", "height", *store.columns]


def entry_of_row(row: dict[str, Any], names: Sequence[str]) -> Entry:
    """The entry of a row; `names` are those of the further columns."""
    columns = {name: row[name] for name in names}
    return Entry(row["id"], row["path"], row["label"], columns, (row["width"], row["height"]))
