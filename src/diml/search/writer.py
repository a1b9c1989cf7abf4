"""The writer: brings a table up to a collection, in commits every few seconds, concurrently with other writers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from diml.data.collection import Skipped
from diml.model import StructuralModel
from diml.search.blocks import Block
from diml.search.engine import Embedded, Engine, LocalEngine, Work
from diml.search.items import FileState, Item, seems_unchanged
from diml.search.store import Known, Store

Progress = Callable[[int, int], None]
# Images of which alone it is read what is stored, instead of all.
FEW = 8192


@dataclass(frozen=True)
class AddReport:
    """What an `add` did, as numbers of images.

    Attributes:
        added: embedded and new.
        changed: embedded again, because the content of the file changed.
        unchanged: left as stored, including those that another writer stored in the meantime.
        removed: dropped, because the collection no longer has them (only with `prune`).
        relabelled: not embedded, but with a new label or another changed column.
        skipped: files that could not be read, with the reason; their former rows stay.
        images_per_second: embedded images per second; 0 if none was embedded.
    """

    added: int
    changed: int
    unchanged: int
    removed: int
    relabelled: int
    skipped: list[Skipped]
    images_per_second: float


@dataclass
class Writer:
    """Stores images.

    No lock is held between commits, so writers embed at the same time. A commit takes the lock, reads again what is
    stored, and leaves out what another writer stored in the meantime.

    Args:
        lock: of the index, held during every commit; on an object store it excludes nobody, and the table does.
        check: called before the table is read, also under the lock of a commit; raises an error if the index is no
            longer the same.
        progress: called with the number of images done and the number to do.
        strict: raise the ImageError of the first image that cannot be read.
        engine: embeds the images.
    """

    store: Store
    model: StructuralModel
    lock: AbstractContextManager[Any]
    check: Callable[[], None] = lambda: None
    commit_seconds: float = 5.0
    strict: bool = False
    progress: Progress | None = None
    engine: Engine = field(default_factory=LocalEngine)
    skipped: list[Skipped] = field(default_factory=list)
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    relabelled: int = 0
    embedded: int = 0
    backends: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._done = self._total = 0
        self._finished: set[str] = set()
        self._known: dict[str, Known] = {}
        # The images that are to be stored, where they are few; of a large table the others are not read then.
        self._asked: set[str] | None = None
        self._version = -1
        self._waiting: list[Embedded] = []
        self._amendments: dict[str, dict[str, str | int | None]] = {}
        self._committed_at = time.monotonic()

    def store_embedded(self, embedded: Sequence[Block]) -> None:
        """Commit what was embedded for the creation of the index."""
        self._waiting.extend(embedded)
        for block in embedded:
            self._count(block)
            self._finished.update(item.id for item in block.items)
            self._finished.update(item.id for item, _ in block.failures)
        self.commit()

    def store_given(self, given: Block) -> None:
        """Commit feature maps that were computed elsewhere; of stored ones, take over labels and columns."""
        self._ask(given.items)
        self._refresh()
        new = []
        for i, (item, state) in enumerate(zip(given.items, given.states, strict=True)):
            known = self._known.get(item.id)
            if known is None or known.hash != state.hash:
                new.append(i)
            else:
                self._leave(item, known, None)
        if new:
            self._waiting.append(given.part(new))
            self.commit()
        self._amend()
        self._amendments = {}

    def run(self, items: Sequence[Item], batch_size: int, backwards: bool = False) -> None:
        """Embed and store what is new or changed, and take over labels and columns.

        Args:
            backwards: start at the end, because another writer started at the front.
        """
        self._ask(items)
        self._refresh()
        todo = [item for item in items if item.id not in self._finished and not self._is_current(item)]
        self._total = self._done + len(todo)
        self._report()
        work = Work(
            model=self.model,
            form=self.store.form,
            items=todo[::-1] if backwards else todo,
            batch_size=batch_size,
            stored_hash=self._stored_hash,
            leave=self._leave_examined,
            ran=self.backends.update,
        )
        started = time.monotonic()
        try:
            with closing(self.engine.blocks(work)) as embedded:
                for block in embedded:
                    self._take(block)
                    took, started = time.monotonic() - started, time.monotonic()
                    if started - self._committed_at + took >= self.commit_seconds:
                        self.commit()
        finally:  # also after an interrupt or an error of the model
            self.commit()
        self._amend()

    def commit(self) -> None:
        """Store all waiting blocks in one commit of the table."""
        self._committed_at = time.monotonic()
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        with self._locked():
            self._refresh()
            tables = [self._new_rows(block) for block in waiting]
            rows = pa.concat_tables(tables)
            if len(rows):
                replacing = any(id in self._known for id in rows["id"].to_pylist())
                missed = len(rows) - self.store.put(rows, replacing)
                self.unchanged, self.added = self.unchanged + missed, self.added - missed
                version = self.store.version
                # Where others commit at the same time, what they stored is read at the next commit.
                self._version = version if version == self._version + 1 else -1
        self._learn(waiting)
        self._committed_at = time.monotonic()

    def remove_absent(self, items: Sequence[Item], spared: Sequence[str]) -> int:
        """Drop rows whose path is not among the items, unless the path or a folder of it is spared."""
        here = {item.id for item in items}
        gone = [id for id, known in self.store.known().items() if id not in here and not _lies_in(known.path, spared)]
        with self._locked():
            self.store.delete(gone)
        return len(gone)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.check()  # taking the lock would make the folder of a moved index again
        with self.lock:
            yield

    def _ask(self, items: Sequence[Item]) -> None:
        self._asked = {item.id for item in items} if len(items) <= FEW else None
        self._version = -1

    def _refresh(self) -> None:
        self.check()
        if self.store.version != self._version:
            self._version = self.store.version
            self._known = self.store.known(self._asked)

    def _is_current(self, item: Item) -> bool:
        """Whether an image is stored and its file still has the stored size and time."""
        known = self._known.get(item.id)
        if known is None:
            return False
        if not seems_unchanged(item.file, known.bytes, known.mtime_ns):
            return False
        self._leave(item, known, None)
        return True

    def _stored_hash(self, item: Item) -> str:
        known = self._known.get(item.id)
        return "" if known is None else known.hash

    def _leave_examined(self, item: Item, state: FileState) -> None:
        """Leave an image whose file was read and has the stored hash."""
        self._done += 1
        known = self._known.get(item.id)
        if known is not None:  # otherwise removed since, by another writer
            self._leave(item, known, state)

    def _leave(self, item: Item, known: Known, state: FileState | None) -> None:
        self.unchanged += 1
        changes: dict[str, str | int | None] = {}
        changes.update({name: value for name, value in item.meta.items() if known.meta.get(name) != value})
        self.relabelled += bool(changes)
        if state is not None and (state.bytes, state.mtime_ns) != (known.bytes, known.mtime_ns):
            changes.update(bytes=state.bytes, mtime_ns=state.mtime_ns)
        if changes:
            self._amendments[item.id] = changes

    def _take(self, block: Embedded) -> None:
        self._waiting.append(block)
        self._count(block)
        self._report()
        if self.strict and block.failures:
            raise block.failures[0][1]

    def _count(self, block: Embedded) -> None:
        self.embedded += len(block)
        self._done += len(block) + len(block.failures)
        self.skipped.extend(Skipped(item.path, str(error)) for item, error in block.failures)

    def _new_rows(self, block: Embedded) -> pa.Table:
        keep, metas = [], []
        for i, (item, state) in enumerate(zip(block.items, block.states, strict=True)):
            known = self._known.get(item.id)
            if known is not None and known.hash == state.hash:
                self.unchanged += 1
                continue
            self.changed += known is not None
            self.added += known is None
            keep.append(i)
            metas.append({**(known.meta if known else {}), **item.meta})
        return block.rows(keep, metas, self.store.schema, self.store.form)

    def _learn(self, committed: Sequence[Embedded]) -> None:
        """Update what is known without reading the table; another writer's commits are read at the next commit."""
        for block in committed:
            for item, state in zip(block.items, block.states, strict=True):
                old = self._known.get(item.id)
                meta = {**(old.meta if old else {}), **item.meta}
                self._known[item.id] = Known(item.path, state.hash, state.bytes, state.mtime_ns, meta)

    def _amend(self) -> None:
        if self._amendments:
            with self._locked():
                self.store.amend(self._amendments)

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(self._done, self._total)


def _lies_in(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
