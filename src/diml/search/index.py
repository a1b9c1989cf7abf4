"""The index: a folder of images that can be searched, with the model that made it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock
from torch import nn

from diml.data.collection import Collection
from diml.errors import DatasetError, ImageError, StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import RegionLike
from diml.model import Mask, Source, StructuralModel
from diml.search import creation
from diml.search.adding_lock import Turn, Watch, make_folder
from diml.search.creation import EXACT_LIMIT, IndexSettings
from diml.search.hits import SearchResult
from diml.search.intake import Item, column_names, image_id, items, open_collection
from diml.search.limits import Shortlist, check_k, check_shortlist
from diml.search.manifest import LOCK, MODEL, Manifest, check_free, is_index
from diml.search.ranking import Ranked, rank
from diml.search.stats import IndexStats, stats_of
from diml.search.store import Store
from diml.search.writer import AddReport, Progress, Writer

AnyPath = str | os.PathLike[str]


class _Opened(NamedTuple):
    manifest: Manifest
    store: Store


class Index:
    """Images that can be searched: one folder, which carries its model and may be copied to another machine.

    Any number of processes may read, also while others add. Of several that add, each commits what it embedded, and
    none stores what another has stored. An index that holds no image answers a search with no hits.

    An image is known by its path relative to its collection: the same relative path, added from another folder, is the
    same image, changed.

    Make one with `Index.create` or `index_folder`, and open it with `Index.open`.

    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> for color in ("red", "green", "blue"):
    ...     Image.new("RGB", (64, 64), color).save(folder / f"{color}.png")
    >>> model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32))
    >>> index = Index.create(folder / "colors.diml", model)
    >>> index.add(folder).added
    3
    >>> index.search(folder / "green.png", k=1)[0].path
    'green.png'
    """

    def __init__(
        self, path: Path, opened: _Opened | None, model: StructuralModel | None, settings: IndexSettings | None
    ) -> None:
        self.path = path
        self._opened = opened
        self._model = model
        self._settings = settings
        self._backbone: nn.Module | None = None
        self._made_here = False
        self._lock = FileLock(path / LOCK)

    @classmethod
    def create(
        cls,
        path: AnyPath,
        model: StructuralModel,
        *,
        dim: int | None = None,
        columns: Sequence[str] = (),
        exact_limit: int = EXACT_LIMIT,
    ) -> Index:
        """A new index. Nothing is written before the first `add`: the head and the columns come from its collection.

        Args:
            path: a folder that does not exist yet, such as `NAME.diml`; one whose creation was cut off is begun anew.
            model: if it has no head, one is fitted on a sample of the first collection, where that has at least 2 x dim
                readable images, and kept with the index; the model itself is left as it is.
            dim: outputs of that head, by default 128; 0 keeps the backbone's own channels.
            columns: further columns that the first collection does not have yet.
            exact_limit: number of images up to which every search looks at all of them.

        Raises:
            StoreError: there is an index already, or something else.
            UsageError: a dim that does not fit, or a column that cannot be kept.
        """
        folder = Path(path)
        if is_index(folder):
            raise StoreError(f"{folder} is an index already; open it with Index.open, or give another name")
        check_free(folder)
        return cls(folder, None, model, IndexSettings(model, dim, tuple(columns), exact_limit))

    @classmethod
    def open(cls, path: AnyPath, *, model: StructuralModel | None = None, backbone: nn.Module | None = None) -> Index:
        """Open an index.

        Args:
            model: the model it was made with, where it is at hand already or has another matcher; by default the one in
                the index, which is loaded when it is first needed.
            backbone: for a model whose backbone is a module of the caller's: that module.

        Raises:
            StoreError: there is no index, or it is unfinished, copied in part, of a newer format, or of another model.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        if model is not None:
            creation.check_same_model(folder, manifest, model)
        index = cls(folder, _Opened(manifest, Store.open(folder, manifest.table_version)), None, None)
        index._backbone = backbone if model is None else model.encoder.backbone
        if model is not None and model.fingerprint == manifest.fingerprint:
            index._model = model
        elif model is not None:
            index._model = index.model.with_matcher(**_settings(model))
        return index

    @property
    def model(self) -> StructuralModel:
        """The model of the index, loaded from it when first asked for."""
        if self._model is None:
            model = StructuralModel.from_pretrained(self.path / MODEL, backbone=self._backbone)
            if self._opened and model.fingerprint != self._opened.manifest.fingerprint:
                raise StoreError(f"{self.path} carries another model than it was made with; copy it again")
            self._model = model
        return self._model

    @property
    def opened(self) -> _Opened:
        """The manifest and the store.

        Raises:
            StoreError: the index does not exist yet.
        """
        if self._opened is None:
            raise StoreError(f"{self.path} does not exist yet; add images first")
        return self._opened

    def __len__(self) -> int:
        """Images that are stored now, by whomever."""
        return self._opened.store.count() if self._opened else 0

    def add(
        self,
        images: AnyPath | Collection,
        *,
        labels_from: AnyPath | None = None,
        prune: bool = False,
        strict: bool = False,
        batch_size: int = 32,
        commit_seconds: float = 5.0,
        progress: Progress | None = None,
    ) -> AddReport:
        """Bring the index up to a collection: embed what is new or changed, leave the rest.

        Args:
            images: a folder, a CSV file (path, label, further columns), or a collection.
            labels_from: for a folder: "folder" or a CSV file, see `open_folder`; None leaves stored labels as they are.
            prune: drop stored images that the collection does not have, unless they are there and only cannot be read.
            strict: fail at the first image that cannot be read; what was embedded before is kept.
            batch_size: images per pass of the model.
            commit_seconds: what was embedded is stored at least this often, a batch permitting.
            progress: called with images done and images to do.

        Raises:
            DatasetError: nothing in the collection can be read, and nothing is stored.
            ImageError: with `strict`, what cannot be read.
            StoreError: the index cannot be written, or another process made it of another model in the meantime.
            UsageError: a column that the index does not have, or a prune that would drop all, for another folder.
        """
        collection = open_collection(images, labels_from)
        if strict and collection.skipped:
            first = collection.skipped[0]
            raise ImageError(f"{first.path}: {first.reason}")
        wanted = items(collection)
        if prune and self._opened:
            self._check_prune(self._opened, collection, wanted)
        if self._settings is not None and self._opened is None:
            creation.probe(self._settings.model)  # what is wrong with it is said before anything is written
        started = time.monotonic()
        with Turn(self.path) as turn, self._undone_if_empty():
            writer = self._begin(collection, wanted, batch_size, Watch(len(wanted), strict, progress))
            writer.commit_seconds, writer.strict, writer.progress = commit_seconds, strict, progress
            writer.run(wanted, batch_size, backwards=not turn.first)
            seconds = time.monotonic() - started
            spared = [skipped.path for skipped in collection.skipped if os.path.lexists(collection.root / skipped.path)]
            removed = writer.remove_absent(wanted, spared) if prune else 0
            self._finish(writer.changed + writer.relabelled + removed)
            skipped = [*collection.skipped, *writer.skipped]
            if skipped and not len(self):
                raise DatasetError(
                    f"none of the {len(wanted)} images of {collection.name} can be read; the first: {skipped[0].reason}"
                )
        rate = writer.embedded / seconds if writer.embedded else 0.0
        return AddReport(writer.added, writer.changed, writer.unchanged, removed, writer.relabelled, skipped, rate)

    def remove(self, images: Sequence[AnyPath]) -> int:
        """Drop images by id or by path relative to the collection; gives their number.

        Raises:
            UsageError: one of them is not in the index; nothing is dropped then.
        """
        if isinstance(images, str | os.PathLike):
            images = [images]
        if self._opened is None:
            raise UsageError(f"{self.path} holds no images yet; add some first")
        with self._locked():
            known = self._opened.store.ids()
            ids = {name if name in known else image_id(name) for name in map(_posix, images)}
            for name in map(_posix, images):
                if name not in known and image_id(name) not in known:
                    raise UsageError(f"{name} is not in {self.path}; give an id, or a path relative to the collection")
            self._opened.store.delete(sorted(ids))
            self._finish(len(ids))
        return len(ids)

    def search(
        self,
        image: Source | FeatureMaps,
        k: int = 10,
        shortlist: Shortlist = 100,
        where: str | None = None,
        *,
        regions: Sequence[RegionLike] = (),
        mask: Mask | None = None,
    ) -> SearchResult:
        """The k images most similar to an image, or the k that show most clearly a part of it.

        Args:
            image: a path, a PIL image, a tensor, or maps of one image made by the model of this index.
            k: hits wanted; where there are fewer images, all of them.
            shortlist: images that are re-ranked by similarity, at least k; 0 keeps the ranking by pooled vectors, "all"
                matches every image by its parts.
            where: SQL on the columns id, path, label, hash, bytes, mtime_ns, width, height and those of the collection,
                such as `"label = 'cat' AND width > 500"`.
            regions: parts of the image, each `(x0, y0, x1, y1)` or `((x0, y0, x1, y1), weight)` in its pixels: only the
                cells that show them are looked for, anywhere in the others (see `diml.matching.find_part`). The coarse
                ranking goes by the mean of these cells, a weak guide to small parts: "all" does without it.
            mask: the same by an image of the same size, a file or values (H, W); see `diml.matching.mask_weights`.

        Raises:
            ImageError: the image or the mask cannot be read.
            UsageError: k or shortlist out of range, a condition that cannot be used, maps that do not fit, a region or
                a mask that does not fit the image, or both.
        """
        k, shortlist = check_k(k), check_shortlist(shortlist)
        query = self.model.query(image, regions=regions, mask=mask)
        opened = self._opened
        found = Ranked([], 0) if opened is None else rank(opened.store, opened.manifest, query, k, shortlist, where)
        return SearchResult(found.hits, k, found.shortlist, query, where, str(self.path))

    def stats(self) -> IndexStats:
        """What is in the index; the model is not loaded for it."""
        if self._opened is None:
            raise StoreError(f"{self.path} does not exist yet; add images first")
        return stats_of(self.path, *self._opened)

    def __repr__(self) -> str:
        return f"Index({str(self.path)!r}, images={len(self)})"

    def _begin(self, collection: Collection, wanted: list[Item], batch_size: int, watch: Watch) -> Writer:
        """A writer on the index, which is made first if it is not there yet."""
        if self._opened is not None:
            self._check_columns(collection)
            return Writer(self._opened.store, self.model, self._lock, self._check_still_there)
        with self._locked():
            if is_index(self.path):  # another process was first
                self._join()
                return self._begin(collection, wanted, batch_size, watch)
            assert self._settings is not None
            made = creation.create(self.path, self._settings, collection, wanted, batch_size, watch)
            manifest, store, self._model, embedded = made
            self._opened, self._made_here = _Opened(manifest, store), True
            writer = Writer(store, self.model, self._lock, self._check_still_there)
            writer.store_embedded(embedded)
            return writer

    @contextmanager
    def _undone_if_empty(self) -> Iterator[None]:
        """Take back the creation of an index that fails before its first row: the next collection may fit a head."""
        self._made_here = False
        try:
            yield
        except BaseException:
            if self._made_here:
                with self._locked():
                    if not len(self):
                        creation.clear(self.path)
                        self._opened = self._model = None
            raise

    def _check_still_there(self) -> None:
        """Another process that made the index may have taken it back, and a third made it anew of another model."""
        assert self._opened is not None
        if not is_index(self.path) or Manifest.read(self.path).fingerprint != self._opened.manifest.fingerprint:
            raise StoreError(f"{self.path} was taken back by another process, which failed; run the same command again")

    def _join(self) -> None:
        assert self._settings is not None
        joined = Index.open(self.path, model=self._settings.model)
        assert joined._opened is not None
        creation.check_same_dim(self.path, joined._opened.manifest, self._settings.dim)
        self._opened, self._model = joined._opened, joined.model

    def _check_columns(self, collection: Collection) -> None:
        assert self._opened is not None
        for name in column_names(collection):
            if name not in self._opened.manifest.columns:
                kept = ", ".join(self._opened.manifest.columns) or "none"
                raise UsageError(
                    f"the column {name!r} came and {self.path} has fixed columns ({kept}); leave it out, or make "
                    "another index"
                )

    def _check_prune(self, opened: _Opened, collection: Collection, wanted: list[Item]) -> None:
        """Another folder than the index was made of may be a slip: it would drop everything."""
        manifest, store = opened
        moved = str(collection.root.absolute()) != manifest.collection
        if moved and len(store.ids() - {item.id for item in wanted}) == len(self) > 0:
            raise UsageError(
                f"{collection.name} has none of the {len(self)} images of {self.path}, which was made of "
                f"{manifest.collection}, so pruning would drop them all; leave --prune out, or name that folder"
            )

    def _finish(self, changed: int) -> None:
        """Compact, and put on record how far the table is."""
        assert self._opened is not None
        manifest, store = self._opened
        with self._locked():
            self._check_still_there()
            store.tidy(manifest.exact_limit, changed)
            manifest = manifest.at_version(store.version)
            manifest.write(self.path)
            self._opened = _Opened(manifest, store)

    def _locked(self) -> FileLock:
        make_folder(self.path)
        return self._lock


def _posix(name: AnyPath) -> str:
    return Path(name).as_posix()


def _settings(model: StructuralModel) -> dict[str, Any]:
    return {name: getattr(model.matcher, name) for name in model.matcher.__dataclass_fields__}
