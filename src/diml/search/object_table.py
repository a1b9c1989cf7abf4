"""The table of an index on an object store, which has no file locks: writers exclude each other by its own commits.

Its ids are the key of the table, as Lance understands it (`lance-schema:unenforced-primary-key`): of two commits that
insert the same id at the same time the later one fails and is tried again on what the earlier one stored. So an image
is inserted once, however many processes store it; no process can hold up another, and none leaves anything behind that
others wait for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import lancedb
import pyarrow as pa

from diml.errors import StoreError
from diml.search.object_path import ObjectPath
from diml.search.places import Place
from diml.search.store import Store, amended
from diml.search.stored_rows import CHUNK

KEY = b"lance-schema:unenforced-primary-key"
# Files of former versions are kept for so long: elsewhere a reader may be at them, and nothing tells of it.
KEPT = timedelta(days=1)
# Commits that are tried again, each on what another writer has stored meanwhile.
RETRIES = 5
# As for single objects, see diml.data.object_files.
_OPTIONS = {"client_max_retries": "3", "client_retry_timeout": "30", "connect_timeout": "5s", "timeout": "300s"}


class ObjectTable(Store):
    """Methods that write may be called by any number of processes at once."""

    @classmethod
    def connect(cls, folder: Place) -> Any:
        plain = os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("1", "true")
        options = {**_OPTIONS, **({"allow_http": "true"} if plain else {})}
        return lancedb.connect(str(folder), read_consistency_interval=timedelta(0), storage_options=options)

    @classmethod
    def stored_schema(cls, schema: pa.Schema) -> pa.Schema:
        key = schema.field("id").with_metadata({KEY: b"true"})
        return schema.set(schema.get_field_index("id"), key)

    def put(self, rows: pa.Table, replacing: bool) -> int:
        """Rows that another writer stored meanwhile, of the same content, are left as they are."""
        merge = self._table.merge_insert("id").when_matched_update_all(where="target.hash != source.hash")
        return self._merge(merge.when_not_matched_insert_all(), rows)

    def amend(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Rows whose content another writer replaces meanwhile, or removes, are left as they are."""
        ids = sorted(changes)
        for start in range(0, len(ids), CHUNK):
            rows = amended(self.rows(ids[start : start + CHUNK]), changes)
            self._merge(self._table.merge_insert("id").when_matched_update_all(where="target.hash = source.hash"), rows)

    def delete(self, ids: Sequence[str]) -> None:
        self._check_key()
        super().delete(ids)

    def tidy(self, exact_limit: int, changed: int = 0) -> None:
        """Where another writer tidies at the same time, it is left to that one."""
        try:
            super().tidy(exact_limit, changed)
        except StoreError as error:
            if not _is_conflict(error):
                raise

    def _optimize(self) -> None:
        self._write(lambda: self._table.optimize(cleanup_older_than=KEPT))

    def _merge(self, merge: Any, rows: pa.Table) -> int:
        self._check_key()
        results: list[Any] = []
        self._write(lambda: results.append(merge.execute(rows)))
        return int(results[0].num_inserted_rows + results[0].num_updated_rows)

    def _write(self, change: Callable[[], Any]) -> None:
        for attempt in range(RETRIES):
            try:
                return super()._write(change)
            except StoreError as error:
                if attempt + 1 == RETRIES or not _is_conflict(error):
                    raise

    def _check_key(self) -> None:
        if (self.schema.field("id").metadata or {}).get(KEY) != b"true":
            raise StoreError(
                f"{self.folder} was made on a disk and copied here, where it can be searched but not changed; change "
                "it on the disk and copy it again, or make an index here"
            )


def table_class(place: Place) -> type[Store]:
    """What reads and writes the table of an index."""
    return ObjectTable if isinstance(place, ObjectPath) else Store


def _is_conflict(error: StoreError) -> bool:
    """Whether a commit failed because another writer was first, as often as the engine itself tried it again."""
    return "conflict" in str(error.__cause__).lower() or "too many concurrent" in str(error.__cause__).lower()
