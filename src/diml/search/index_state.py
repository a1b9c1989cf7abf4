"""The folder of an index, and what this process knows of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from filelock import FileLock
from torch import nn

from diml.errors import StoreError
from diml.model import StructuralModel
from diml.search import creation
from diml.search.adding_lock import make_folder
from diml.search.features_only import NoBackbone, features_model
from diml.search.manifest import LOCK, MODEL, Manifest, is_index
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
        lock: of the index: held by whoever writes, in any process.
    """

    def __init__(self, path: Path, settings: IndexSettings | None = None) -> None:
        self.path = path.absolute()
        self.settings = settings
        self.opened: Opened[Store] | None = None
        self.lock = FileLock(self.path / LOCK)
        self._model: StructuralModel | None = None
        self._backbone: nn.Module | None = None
        self._changing = threading.Lock()

    @classmethod
    def open(cls, path: Path, model: StructuralModel | None = None, backbone: nn.Module | None = None) -> IndexState:
        """See `Index.open`."""
        manifest = Manifest.read(path)
        if model is not None:
            model = creation.check_same_model(path, manifest, model)
        state = cls(path)
        form = RowForm.stored(path, manifest)
        state.opened = Opened(manifest, Store.open(state.path, manifest.table_version, form))
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
    def folders(self) -> list[Path]:
        """The folder alone."""
        return [self.path]

    @property
    def shards(self) -> Mapping[str, Path]:
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
        model = StructuralModel.from_pretrained(self.path / MODEL, backbone=backbone)
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

    def locked(self) -> FileLock:
        """The lock, its folder made; the folder of an index that was open is not made again."""
        if self.opened is not None:
            self.check_still_there()
        make_folder(self.path)
        return self.lock

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

    def undo_creation(self) -> None:
        """Remove the index, under its lock; the next collection makes it again."""
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
            raise StoreError(
                f"{self.path} was taken back by the process that was making it, which failed; "
                "run the same command again"
            )
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
            manifest.write(self.path)
            with self._changing:
                self.opened = Opened(manifest, store)
