"""The folder of an index, and what this process knows of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from torch import nn

from diml.errors import StoreError
from diml.model import StructuralModel
from diml.search import creation
from diml.search.adding_lock import make_folder, making
from diml.search.claims import Claim, is_claim
from diml.search.features_only import NoBackbone, features_model
from diml.search.manifest import FILE, LOCK, MODEL, Manifest, is_index
from diml.search.object_path import ObjectPath
from diml.search.object_table import table_class
from diml.search.places import Place, on_this_machine
from diml.search.read_state import Opened
from diml.search.row_form import RowForm
from diml.search.settings import IndexSettings
from diml.search.store import Store
from diml.search.unreadable import moved


class IndexState:
    """The folder of an index, and what this process knows of it. Threads may share it.

    Attributes:
        path: absolute, so that it survives a change of the working folder.
        settings: of an index that is to be made; None for one that was opened.
        opened: None before the index is made.
        lock: of the index: held by whoever writes, in any process. On an object store, which has no such locks, it
            excludes nobody, and the table does; see `diml.search.object_table`.
    """

    def __init__(self, path: Place, settings: IndexSettings | None = None) -> None:
        self.path = path.absolute()
        self.settings = settings
        self.opened: Opened[Store] | None = None
        self.lock: AbstractContextManager[Any] = nullcontext()
        if isinstance(self.path, Path):
            self.lock = FileLock(self.path / LOCK)
        self._model: StructuralModel | None = None
        self._backbone: nn.Module | None = None
        self._changing = threading.Lock()

    @classmethod
    def open(cls, path: Place, model: StructuralModel | None = None, backbone: nn.Module | None = None) -> IndexState:
        """See `Index.open`."""
        manifest = Manifest.read(path)
        if model is not None:
            model = creation.check_same_model(path, manifest, model)
        state = cls(path)
        form = RowForm.stored(path, manifest)
        state.opened = Opened(manifest, table_class(state.path).open(state.path, manifest.table_version, form))
        state._backbone = backbone if model is None else model.encoder.backbone
        if model is not None and model.fingerprint == manifest.fingerprint:
            state._model = model
        elif model is not None:
            settings = {name: getattr(model.matcher, name) for name in model.matcher.__dataclass_fields__}
            state._model = state.model.with_matcher(**settings)
        return state

    @property
    def name(self) -> str:
        """The folder, as messages and results call it."""
        return str(self.path)

    @property
    def folders(self) -> list[Place]:
        """The folder alone."""
        return [self.path]

    @property
    def shards(self) -> Mapping[str, Place]:
        """None: it is a single index."""
        return {}

    @property
    def model(self) -> StructuralModel:
        """The model, loaded from the folder on first use; before the index is made, the model it is to be made with."""
        return self.snapshot()[1]

    def snapshot(self) -> tuple[Opened[Store] | None, StructuralModel]:
        """The opened index and its model, which belong together also while another thread makes the index."""
        with self._changing:
            if self._model is None:
                self._model = self._loaded(self.opened)
            return self.opened, self._model

    def _loaded(self, opened: Opened[Store] | None) -> StructuralModel:
        if opened is None:
            assert self.settings is not None
            return self.settings.model or features_model(self.settings.grid or (1, 1))
        self.check_still_there()
        backbone = self._backbone if opened.manifest.embeds else NoBackbone()
        with on_this_machine(self.path / MODEL) as folder:
            model = StructuralModel.from_pretrained(folder, backbone=backbone)
        if model.fingerprint != opened.manifest.fingerprint:
            raise StoreError(f"{self.path} holds another model than it was made with; copy it again")
        return model

    def require(self) -> Opened[Store]:
        """The manifest and the store.

        Raises:
            StoreError: the index does not exist yet.
        """
        if self.opened is None:
            raise StoreError(f"{self.path} does not exist yet; add images first")
        return self.opened

    def for_writing(self) -> IndexState:
        """Itself."""
        return self

    def of_image(self, id: str) -> IndexState | None:
        """Itself, if the image is stored."""
        return self if self.require().store.ids_among([id]) else None

    def count(self) -> int:
        """Images that are stored now, by any process."""
        return self.opened.store.count() if self.opened else 0

    def locked(self) -> AbstractContextManager[Any]:
        """The lock, its folder made; the folder of an index that was open is not made again."""
        if self.opened is not None:
            self.check_still_there()
        if isinstance(self.path, Path):
            make_folder(self.path)
        return self.lock

    def making(self) -> AbstractContextManager[Callable[[Manifest], None]]:
        """Held while the index is made, see `diml.search.adding_lock.making`."""
        return making(self.path, self.lock)

    def take(self, made: creation.Created) -> None:
        """Note an index that this process has just made."""
        with self._changing:
            self.opened, self._model = Opened(made.manifest, made.store), made.model

    def join(self) -> None:
        """Open the index that another process made first."""
        assert self.settings is not None
        joined = IndexState.open(self.path, self.settings.model)
        opened = joined.require()
        creation.check_same_dim(self.path, opened.manifest, self.settings.dim)
        model = joined.model
        with self._changing:
            self.opened, self._model = opened, model

    def undo_creation_if_empty(self) -> None:
        """Remove the index that this process made, unless it holds images; the next collection makes it again."""
        if isinstance(self.path, Path):
            with self.locked():
                if not self.count():
                    self._undo_creation()
            return
        found, claim = (self.path / FILE).read(), Claim(self.path / FILE)
        if found is None or is_claim(found[0]) or not claim.take_back(found[1]):
            return  # another process has added images, or unmade it
        with claim:
            if self.count():
                claim.replace(found[0])
            else:
                self._undo_creation()

    def _undo_creation(self) -> None:
        creation.clear(self.path)
        with self._changing:
            self.opened = self._model = None

    def check_still_there(self) -> None:
        """Check that the folder still holds the index that was opened.

        Raises:
            StoreError: it was moved or removed, taken back by the process that was making it, or replaced.
        """
        manifest = self.require().manifest
        if not self.path.exists():
            raise moved(self.path)
        if not is_index(self.path):
            raise _taken_back(self.path)
        if Manifest.read(self.path).fingerprint != manifest.fingerprint:
            raise StoreError(f"{self.path} was replaced by an index of another model while it was open; open it again")

    def finish(self, changed: int, backends: Iterable[str] = ()) -> None:
        """Compact the table after changes, and record its version and what has embedded images."""
        with self.locked():
            self.check_still_there()
            manifest, store = self.require()
            store.tidy(manifest.exact_limit, changed)
            others = Manifest.read(self.path).backends  # of a process that has added meanwhile
            manifest = manifest.at_version(store.version).embedded_by([*backends, *others])
            if isinstance(self.path, Path):
                manifest.write(self.path)
            else:
                manifest = _record(self.path, manifest)
            with self._changing:
                self.opened = Opened(manifest, store)


def _taken_back(path: Place) -> StoreError:
    return StoreError(
        f"{path} was taken back by the process that was making it, which failed; run the same command again"
    )


def _record(path: ObjectPath, manifest: Manifest) -> Manifest:
    """Write the manifest of an index on an object store, with what other writers recorded meanwhile."""
    while True:
        found = (path / FILE).read()
        if found is None or is_claim(found[0]):
            raise _taken_back(path)
        other = Manifest.parse(path, found[0])
        manifest = manifest.at_version(max(manifest.table_version, other.table_version)).embedded_by(other.backends)
        if (path / FILE).write(manifest.document(), over=found[1]):
            return manifest
