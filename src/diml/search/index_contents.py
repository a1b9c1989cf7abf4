"""What is stored in an index, which can be read without its model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from diml.data.object_files import is_url
from diml.feature_maps import FeatureMaps
from diml.files import AnyPath
from diml.search.entries import Entry, by_path, entries, entry_columns, entry_of_row, page, value_counts
from diml.search.naming import as_ids, not_stored, resolve
from diml.search.places import Place
from diml.search.read_state import ReadState
from diml.search.stats import IndexStats, stats_of
from diml.search.stored_maps import stored_maps


class IndexContents:
    """The stored images of an index. Iterating gives an `Entry` for each, ordered by path."""

    def __init__(self, state: ReadState) -> None:
        self._state = state

    @property
    def path(self) -> Place:
        """The folder of the index, absolute; on an object store an `ObjectPath`, whose text is its address.

        Raises:
            UsageError: it is several indices that were opened as one, see `shards`.
        """
        return self._state.path

    @property
    def shards(self) -> dict[str, Place]:
        """Of several indices that were opened as one, the folder of each by its name; empty for a single index."""
        return dict(self._state.shards)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the further columns, fixed when the index was made."""
        return self._state.require().manifest.columns

    @property
    def collection(self) -> Path | None:
        """The folder that the index was made of; None for features that were added without image files, images on an
        object store, and several indices that were made of several folders, see `collection_of`.
        """
        folder = self._state.require().manifest.collection
        return Path(folder) if folder and not is_url(folder) else None

    def collection_of(self, image: AnyPath) -> Path | None:
        """The folder that the path of a stored image, given by its id or path, is relative to; None if it has none.

        Raises:
            UsageError: it is not in the index.
        """
        if not self.shards:
            return self.collection
        ids = resolve(self._state.require().store, image).known(self._state.name)
        state = self._state.of_image(ids[0])
        folder = "" if state is None else state.require().manifest.collection
        return Path(folder) if folder and not is_url(folder) else None

    @property
    def embeds(self) -> bool:
        """Whether the index has a model that embeds images, rather than features that were computed elsewhere."""
        return self._state.require().manifest.embeds

    def __len__(self) -> int:
        """Images that are stored now, by any process."""
        return self._state.count()

    def __iter__(self) -> Iterator[Entry]:
        """An entry for each image that is stored now, ordered by path."""
        opened = self._state.opened
        return iter(()) if opened is None else entries(opened.store)

    def __contains__(self, image: AnyPath) -> bool:
        """Whether an image is stored: its id, or its path relative to the collection."""
        opened = self._state.opened
        return opened is not None and not resolve(opened.store, [image]).unknown

    def missing(self, images: Sequence[AnyPath]) -> list[str]:
        """Which of some images, given by id or path, are not stored; found in one scan."""
        return resolve(self._state.require().store, images).unknown

    @property
    def paths(self) -> list[str]:
        """The path of each image, sorted."""
        opened = self._state.opened
        return [] if opened is None else by_path(opened.store, ["path", "id"])["path"].to_pylist()

    @property
    def labels(self) -> list[str | None]:
        """The label of each image, in the order of `paths`; None for an image without one."""
        opened = self._state.opened
        return [] if opened is None else by_path(opened.store, ["path", "id", "label"])["label"].to_pylist()

    def maps(self, images: AnyPath | Sequence[AnyPath]) -> FeatureMaps:
        """The stored feature maps of some images, in the order asked for: float32, on the CPU, with their geometry.

        Args:
            images: ids, or paths relative to the collection; one or several.

        Raises:
            UsageError: one of them is not in the index.
            StoreError: the index does not exist yet.
        """
        manifest, store = self._state.require()
        ids = resolve(store, images).known(self._state.name)
        return stored_maps(store.rows_in_order(ids), manifest, store.codec)

    def entries(self, where: str | None = None, offset: int = 0, limit: int | None = None) -> list[Entry]:
        """Some of the images, ordered by path, for a list that people browse.

        Args:
            where: SQL on the columns, see `Index.search`.
            offset, limit: leave out the first so many, and return so many at most; all the others for None.

        Raises:
            UsageError: a condition that cannot be used.
        """
        store = self._state.require().store
        number = store.count(where)  # checks the condition
        return page(store, where, offset, number if limit is None else limit)

    def count(self, where: str | None = None) -> int:
        """Images that meet a condition.

        Raises:
            UsageError: a condition that cannot be used.
        """
        return self._state.require().store.count(where)

    def entry(self, image: AnyPath) -> Entry:
        """What is stored about an image, given by its id or path.

        Raises:
            UsageError: it is not in the index.
        """
        store = self._state.require().store
        return entry_of_row(self._row(image, entry_columns(store)), store.columns)

    def thumbnail(self, image: AnyPath) -> bytes:
        """A small JPEG of an image, given by its id or path: at most 160 px; empty for features without an image file.

        Raises:
            UsageError: it is not in the index.
        """
        thumbnail: bytes = self._row(image, ["thumbnail"])["thumbnail"]
        return thumbnail

    def _row(self, image: AnyPath, columns: list[str]) -> dict[str, Any]:
        """Some columns of one image, read at once: looking its id up first would take as long again.

        Raises:
            UsageError: it is not in the index.
        """
        store = self._state.require().store
        ids = as_ids(image)
        listed = store.scan_ids([*columns, *({"id"} - {*columns})], ids).to_pylist()
        rows: dict[str, dict[str, Any]] = {row["id"]: row for row in listed}
        found = next((rows[id] for id in ids if id in rows), None)
        if found is None:
            raise not_stored(image, self._state.name)
        return found

    def value_counts(self, column: str, limit: int) -> tuple[int, list[tuple[str, int]]]:
        """The number of distinct values of `label` or a further column, and the most frequent ones with their counts.

        Raises:
            UsageError: there is no such column.
        """
        return value_counts(self._state.require().store, column, limit)

    def stats(self) -> IndexStats:
        """What is in the index; the model is not loaded for it.

        Raises:
            StoreError: the index does not exist yet, or was moved or removed while it was open; an image is in two of
                several indices that were opened as one.
        """
        manifest, store = self._state.require()
        self._state.check_still_there()
        store.check_distinct()
        return stats_of(self._state.name, self._state.folders, manifest, store, self.shards)
