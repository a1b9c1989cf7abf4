"""Adding to an index: images that it embeds, or feature maps that were computed elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from diml.data.collection import Collection
from diml.embedding import REDUCED
from diml.errors import DatasetError, ImageError, UsageError
from diml.feature_maps import FeatureMaps
from diml.search import creation
from diml.search.adding_lock import AddingLock
from diml.search.blocks import Block, given_block
from diml.search.engine import Engine, LocalEngine
from diml.search.features_only import NO_MODEL
from diml.search.index_state import IndexState
from diml.search.items import Item, column_names, items
from diml.search.manifest import is_index
from diml.search.read_state import Opened
from diml.search.store import Store
from diml.search.writer import AddReport, Progress, Writer

# Given maps that are stored in one commit.
GIVEN = 4096


@dataclass(frozen=True)
class AddOptions:
    """How to add a collection; see `Index.add`."""

    prune: bool = False
    strict: bool = False
    batch_size: int = 32
    commit_seconds: float = 5.0
    progress: Progress | None = None
    engine: Engine = field(default_factory=LocalEngine)


@dataclass
class SampleProgress:
    """Follows the embedding of the images on which the head of a new index is fitted."""

    total: int
    options: AddOptions
    done: int = 0

    def __call__(self, block: Block) -> None:
        self.done += len(block) + len(block.failures)
        if self.options.progress is not None:
            self.options.progress(self.done, self.total)
        if self.options.strict and block.failures:
            raise block.failures[0][1]


@dataclass
class _Adding:
    """One run of adding to an index, which it makes if it does not exist yet."""

    state: IndexState
    collection: Collection
    wanted: list[Item] = field(init=False)
    made_here: bool = False

    def __post_init__(self) -> None:
        self.wanted = items(self.collection)

    def writer(self, create: Callable[[], creation.Created]) -> Writer:
        state = self.state
        if state.opened is not None:
            self._check_columns(state.opened)
            return Writer(state.opened.store, state.model, state.lock, state.check_still_there)
        with state.making() as write:
            if is_index(state.path):  # another process was first
                state.join()
                return self.writer(create)
            made = create()
            write(made.manifest)
            state.take(made)
            self.made_here = True
            writer = Writer(made.store, made.model, state.lock, state.check_still_there)
            writer.store_embedded(made.embedded)
            return writer

    def lock(self) -> AddingLock:
        """The folder of an index that was moved while it was open is not made again."""
        if self.state.opened is not None:
            self.state.check_still_there()
        return AddingLock(self.state.path)

    @contextmanager
    def undone_if_empty(self) -> Iterator[None]:
        """Remove a new index if adding fails before its first row: the next collection may fit a head."""
        try:
            yield
        except BaseException:
            if self.made_here:
                self.state.undo_creation_if_empty()
            raise

    def _check_columns(self, opened: Opened[Store]) -> None:
        for name in column_names(self.collection):
            if name not in opened.manifest.columns:
                kept = ", ".join(opened.manifest.columns) or "none"
                raise UsageError(
                    f"the column {name!r} is not one of the fixed columns of {self.state.path} ({kept}); leave it out, "
                    "or make another index"
                )


def add_collection(state: IndexState, collection: Collection, options: AddOptions) -> AddReport:
    """See `Index.add`."""
    if options.strict and collection.skipped:
        first = collection.skipped[0]
        raise ImageError(f"{first.path}: {first.reason}")
    adding, settings = _Adding(state, collection), state.settings
    wanted = adding.wanted
    _check_embeds(state)
    _check_precision(state)
    if options.prune and state.opened:
        _check_prune(state, state.opened, collection, wanted)
    if settings is not None and settings.model is not None and state.opened is None:
        # Errors of the model are raised before anything is written; its weights are perhaps not fitted yet.
        creation.probe(settings.model.with_weights(None))

    def create() -> creation.Created:
        assert settings is not None
        seen = SampleProgress(len(wanted), options)
        return creation.create(state.path, settings, collection, wanted, options.batch_size, seen)

    started = time.monotonic()
    with adding.lock() as adding_lock, adding.undone_if_empty():
        writer = adding.writer(create)
        writer.commit_seconds, writer.strict = options.commit_seconds, options.strict
        writer.progress, writer.engine = options.progress, options.engine
        writer.run(wanted, options.batch_size, backwards=not adding_lock.first)
        seconds = time.monotonic() - started
        removed = writer.remove_absent(wanted, _unreadable(collection)) if options.prune else 0
        backends = ({*writer.model.backends, *writer.backends} or {"torch"}) if writer.embedded else ()
        state.finish(writer.changed + writer.relabelled + removed, backends)
        skipped = [*collection.skipped, *writer.skipped]
        if skipped and not state.count():
            raise DatasetError(
                f"none of the {len(wanted)} images of {collection.name} can be read; the first: {skipped[0].reason}"
            )
    rate = writer.embedded / seconds if writer.embedded else 0.0
    return AddReport(writer.added, writer.changed, writer.unchanged, removed, writer.relabelled, skipped, rate)


def add_given(state: IndexState, collection: Collection, maps: FeatureMaps) -> AddReport:
    """See `Index.add_maps`; the maps are of the images of the collection, in this order."""
    adding, settings = _Adding(state, collection), state.settings
    if state.opened is not None:
        manifest = state.opened.manifest
        creation.MapShape.stored(manifest).check(maps)
    elif settings is not None:
        creation.expected_shape(settings, maps).check(maps)

    def create() -> creation.Created:
        assert settings is not None
        return creation.create_for_maps(state.path, settings, collection, maps)

    with adding.lock(), adding.undone_if_empty():
        writer = adding.writer(create)
        manifest = state.require().manifest  # perhaps of another process that was first
        creation.MapShape.stored(manifest).check(maps)
        for at in range(0, len(maps), GIVEN):
            writer.store_given(given_block(adding.wanted[at : at + GIVEN], maps[at : at + GIVEN]))
        state.finish(writer.changed + writer.relabelled)
    return AddReport(writer.added, writer.changed, writer.unchanged, 0, writer.relabelled, [], 0.0)


def _check_embeds(state: IndexState) -> None:
    without_model = state.settings is not None and state.settings.model is None
    if without_model or (state.opened is not None and not state.opened.manifest.embeds):
        raise UsageError(NO_MODEL)


def _check_precision(state: IndexState) -> None:
    """Refuse to mix maps of a reduced precision with others: they differ by more than what another engine changes."""
    if state.opened is None:
        return
    stored, wanted = state.opened.manifest.backends or ("torch",), state.model.encoder.inference.backend
    if {wanted, *stored} & {*REDUCED} and set(stored) != {wanted}:
        raise UsageError(
            f"{state.path} was embedded by {', '.join(stored)}, whose maps are not those of {wanted}; add with "
            f"--backend {stored[0]}, or make another index"
        )


def _unreadable(collection: Collection) -> list[str]:
    """Paths that are there and cannot be read: what is stored of them stays."""
    return [skipped.path for skipped in collection.skipped if collection.has(skipped.path)]


def _check_prune(state: IndexState, opened: Opened[Store], collection: Collection, wanted: list[Item]) -> None:
    """Refuse to prune by a folder that has none of the images: it is probably the wrong one."""
    manifest, store = opened
    moved = collection.place != manifest.collection
    if moved and len(store.ids() - {item.id for item in wanted}) == state.count() > 0:
        origin = manifest.collection or "feature maps"
        raise UsageError(
            f"{collection.name} has none of the {state.count()} images of {state.path}, which was made of {origin}, "
            "so pruning would drop them all; leave --prune out, or name that folder"
        )
