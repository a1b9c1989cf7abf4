"""The images of an index, without what was computed from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from diml.search.store import Store

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


def entries(store: Store) -> Iterator[Entry]:
    """Every image that is stored now, by path."""
    names = store.columns
    rows = by_path(store, ["id", "path", "label", "width", "height", *names])
    for batch in rows.to_batches(BATCH):
        for row in batch.to_pylist():
            columns = {name: row[name] for name in names}
            yield Entry(row["id"], row["path"], row["label"], columns, (row["width"], row["height"]))


def by_path(store: Store, columns: list[str]) -> pa.Table:
    """Some columns of every image, ordered by path, equal paths by id."""
    return store.scan(columns).sort_by([("path", "ascending"), ("id", "ascending")])
