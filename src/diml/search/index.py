"""The index: a folder of images that can be searched, with the model that made it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

from torch import nn

from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.files import AnyPath
from diml.matching import RegionLike
from diml.model import Mask, Query, Source, StructuralModel
from diml.search.adding import AddOptions, add_collection, add_given
from diml.search.as_collection import Added, as_collection
from diml.search.codes import FLOAT16
from diml.search.engine import Engine, LocalEngine
from diml.search.given_maps import given_collection, with_sizes
from diml.search.hits import FailedQuery, SearchResult
from diml.search.index_contents import IndexContents
from diml.search.index_state import IndexState
from diml.search.limits import SearchShortlist, check_k, check_search_shortlist
from diml.search.manifest import check_free, is_index
from diml.search.naming import resolve
from diml.search.pairs import Pairs
from diml.search.places import index_place
from diml.search.read_state import ReadState
from diml.search.searcher import Searcher
from diml.search.settings import EXACT_LIMIT, Grid, IndexSettings, ModelLike, as_grid, as_model
from diml.search.sharded_state import ShardedState
from diml.search.writer import AddReport, Progress


class Index(IndexContents):
    """Images that can be searched: one folder, which holds its model and may be copied to another machine. Several that
    were made with one model can be opened, and read, as one.

    Any number of processes and threads may search, also while others add. Of several processes that add, each commits
    what it embedded, and none stores what another has stored. An index that holds no images gives no hits.

    An image is known by its path relative to its collection: the same relative path, added from another folder, is the
    same image, changed.

    Make one with `Index.create` or `index_folder`, and open it with `Index.open`. Iterating gives an `Entry` for each
    image, ordered by path.

    >>> import tempfile
    >>> from pathlib import Path
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
    >>> [entry.path for entry in index], "red.png" in index
    (['blue.png', 'green.png', 'red.png'], True)
    >>> index.maps(["red.png", "blue.png"])
    FeatureMaps(n=2, grid=4x4, dim=8, torch.float32, cpu)
    """

    def __init__(self, state: ReadState, changes: Mapping[str, Any] | None = None) -> None:
        super().__init__(state)
        self._changes = dict(changes or {})

    @classmethod
    def create(
        cls,
        path: AnyPath,
        model: ModelLike | None = None,
        *,
        grid: Grid | None = None,
        dim: int | None = None,
        columns: Sequence[str] = (),
        exact_limit: int = EXACT_LIMIT,
        bit_depth: int | None = None,
        codes: str = FLOAT16,
        thumbnails: bool = True,
        sketches: bool = False,
    ) -> Index:
        """A new index. Nothing is written before the first `add`: the head and the columns come from its collection.

        Args:
            path: a folder that does not exist yet, such as `NAME.diml`, or one whose creation was interrupted; or an
                address on an object store, such as `s3://bucket/NAME.diml`, see docs/scale.md.
            model: a model, or what `StructuralModel.from_pretrained` takes, such as "lite0". If it has no head, one is
                fitted on a sample of the first collection, provided that has at least 2 x dim readable images, and kept
                with the index; the model itself does not change. Weights of parts that depend on a collection and are
                not fitted yet are fitted on the same sample. Without a model the index embeds no images: it takes
                feature maps, by `add_maps` and as queries, and compares them with the default matcher.
            grid: rows and columns of the matching grid, one number for a square; by default the model's, without a
                model that of the first maps.
            dim: outputs of the head, by default 128; 0 keeps the backbone's own channels. Without a model: numbers per
                part, by default those of the first maps.
            columns: further columns that the first collection does not have yet.
            exact_limit: number of images up to which every search looks at all of them.
            bit_depth: bits of the samples in 16-bit images, 1 to 16, where the files do not say it; kept with the
                index. None for 16.
            codes: how maps are stored: as they are in "float16", or in fewer bytes, with less exact numbers, as "int8",
                "int4", "pq32" (product codes of 32 bytes a part) or "pool8+pq32" (of 8 vectors an image); see
                docs/scale.md. Product codes are fitted on a sample of the first collection. All numbers that are shown
                come from what is stored.
            thumbnails: store a small picture of each image, which pages and hits show.
            sketches: store a quarter of each map once more, by which `shortlist="proven"` excludes images.

        Raises:
            StoreError: there is an index already, or something else.
            ModelError: there is no such model.
            UsageError: a dim that does not fit, a column that cannot be stored, or codes that there are not.
        """
        folder, shape = index_place(path), as_grid(grid)
        if is_index(folder):
            raise StoreError(f"{folder} is an index already; open it with Index.open, or give another name")
        check_free(folder)
        loaded = None if model is None else as_model(model, shape, bit_depth)
        settings = IndexSettings(loaded, shape, dim, tuple(columns), exact_limit, codes, thumbnails, sketches)
        return cls(IndexState(folder, settings))

    @classmethod
    def open(
        cls,
        path: AnyPath | Sequence[AnyPath],
        *,
        model: StructuralModel | None = None,
        backbone: nn.Module | None = None,
    ) -> Index:
        """Open an index, or several that were made with one model, as one.

        Several give the hits that one index of all their images would give, with the same numbers, where each is
        searched exactly: while none holds more images than the smallest `exact_limit` of them. They are read only; what
        is added to one of them by itself is found by the next search. See docs/scale.md.

        Args:
            path: the folder of the index, or its address on an object store; or a list of them, with different images.
            model: the model it was made with, if it is loaded already or has another matcher; by default that of the
                index, which is loaded on first use.
            backbone: for a model that wraps a module of your own: that module.

        Raises:
            StoreError: there is no index, or it is unfinished, copied in part, of a newer format, or of another model;
                of several: they differ in what they store, or an image is in two of them. Of more than a million images
                the latter is noticed where both are read, and by `stats`.
            UsageError: an empty list, or an index that is listed twice.
        """
        if isinstance(path, str | os.PathLike):
            return cls(IndexState.open(index_place(path), model, backbone))
        paths = [index_place(each) for each in path]
        if not paths:
            raise UsageError("expected at least one index to open, got an empty list")
        if len(paths) == 1:
            return cls(IndexState.open(paths[0], model, backbone))
        return cls(ShardedState.open(paths, model, backbone))

    def with_matcher(self, **changes: Any) -> Index:
        """The same index, searched with some settings of the matcher changed; what is stored does not change.

        Args:
            changes: such as `weight=1.0` or `mass=0.5`, see `diml.Matcher`.

        Raises:
            UsageError: a setting out of its range.
        """
        self.model.with_matcher(**changes)  # raises here, not in the first search
        return Index(self._state, {**self._changes, **changes})

    @property
    def model(self) -> StructuralModel:
        """The model of the index, loaded from it on first use."""
        return self._state.model.with_matcher(**self._changes) if self._changes else self._state.model

    def add(
        self,
        images: Added,
        *,
        labels: Sequence[Any] | None = None,
        labels_from: AnyPath | None = None,
        prune: bool = False,
        strict: bool = False,
        batch_size: int = 32,
        commit_seconds: float = 5.0,
        progress: Progress | None = None,
        engine: Engine | None = None,
    ) -> AddReport:
        """Bring the index up to a collection: embed what is new or changed, leave the rest.

        Args:
            images: a folder, a table (path, label, further columns), an image file, a list of image files, tars and
                tables of images (see `diml.data.open_packed`), or a `Collection`. Paths of image files and tars are
                relative to the folder that the index was made of, if all of them lie below it, otherwise to the
                innermost folder that holds all of them.
            labels: for image files: a label for each; None leaves stored labels as they are.
            labels_from: for a folder: "folder" or a table, see `open_folder`; None leaves stored labels as they are,
                and so does a table for the images that it does not name.
            prune: drop stored images that the collection does not have, except those that exist and cannot be read.
            strict: fail at the first image that cannot be read; what was embedded before is kept.
            batch_size: images per pass of the model.
            commit_seconds: embedded images are stored at least this often, or after each batch if that takes longer.
            progress: called with the number of images done and the number to do.
            engine: what embeds the images, such as a `RayEngine`; None for this process. The head and the weights of a
                new index are fitted in this process, on up to 1,000 images.

        Raises:
            DatasetError: nothing in the collection can be read, and nothing is stored.
            ImageError: with `strict`, the image that cannot be read.
            StoreError: the index cannot be written, or another process made it with another model in the meantime.
            UsageError: a column that the index does not have, an index without a model, or a prune that would drop
                everything, by another folder.
        """
        state = self._state.for_writing()
        root = self.collection if state.opened else None
        collection = as_collection(images, labels_from, labels, root)
        options = AddOptions(prune, strict, batch_size, commit_seconds, progress, engine or LocalEngine())
        return add_collection(state, collection, options)

    def add_maps(
        self,
        maps: FeatureMaps,
        *,
        paths: Sequence[AnyPath],
        labels: Sequence[Any] | None = None,
        columns: Mapping[str, Sequence[Any]] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
    ) -> AddReport:
        """Add feature maps that were computed elsewhere; no image file is read, and hits have an empty thumbnail.

        Maps that are stored already, unchanged, only take over the labels and columns. The first maps of a new index
        fix its grid and dim; no head is fitted on them.

        Args:
            maps: of n images; of the grid and dim of the index, and with weights of parts if it has them.
            paths: n names of the images, each once, such as paths relative to their collection.
            labels: n labels; None leaves stored labels as they are.
            columns: further columns by name, n values each, stored as text.
            sizes: n (width, height) of the original images in pixels, of which the maps show all; needed if the maps
                have no geometry.

        Raises:
            StoreError: the index cannot be written.
            UsageError: maps of another grid or dim, without a size, not finite, or with weights where the index has
                none or the other way round; not n paths, labels or values.

        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> index = Index.create(Path(tempfile.mkdtemp()) / "features.diml")
        >>> maps = FeatureMaps(torch.eye(8).reshape(2, 4, 8), grid=(2, 2))
        >>> index.add_maps(maps, paths=["a", "b"], labels=[0, 1], sizes=[(64, 64), (80, 60)]).added
        2
        >>> index.search(maps[1], k=1)[0].path
        'b'
        """
        state = self._state.for_writing()
        collection = given_collection(maps, paths, labels, columns)
        return add_given(state, collection, with_sizes(maps, sizes))

    def remove(self, images: AnyPath | Sequence[AnyPath]) -> int:
        """Drop images by id or by path relative to the collection; returns how many.

        Raises:
            UsageError: one of them is not in the index; then nothing is dropped.
            StoreError: the index does not exist yet, or cannot be written.
        """
        state = self._state.for_writing()
        store = state.require().store
        with state.locked():
            ids = set(resolve(store, images).known(state.name))
            store.delete(sorted(ids))
            state.finish(len(ids))
        return len(ids)

    def search(
        self,
        image: Source | FeatureMaps | Query,
        k: SupportsIndex | float = 10,
        shortlist: SearchShortlist | SupportsIndex | float = 100,
        where: str | None = None,
        *,
        regions: Sequence[RegionLike] = (),
        mask: Mask | None = None,
    ) -> SearchResult:
        """The k images most similar to an image, or the k that show most clearly a part of it.

        Args:
            image: a path, a PIL image, an array, a tensor, feature maps of one image made by the model of the index, or
                a query that this model prepared (see `StructuralModel.query`), which states its part itself.
            k: number of hits; if there are fewer images, all of them.
            shortlist: number of images that are re-ranked by similarity, at least k; 0 keeps the ranking by pooled
                vectors, "all" matches every image by its parts, "proven" gives the same without reading the maps that
                a bound excludes, of an index with sketches.
            where: SQL on the columns id, path, label, hash, bytes, mtime_ns, width, height and those of the collection,
                such as `"label = 'cat' AND width > 500"`.
            regions: parts of the image, each `(x0, y0, x1, y1)` or `((x0, y0, x1, y1), weight)` in its pixels: only the
                cells that show them are looked for, anywhere in the others (see `diml.matching.find_part`). The coarse
                ranking uses the mean of these cells, a weak guide to small parts: "all" does without it.
            mask: the same by an image of the same size, a file or values (H, W); see `diml.matching.mask_weights`.

        Raises:
            ImageError: the image or the mask cannot be read.
            UsageError: k or shortlist out of range, a condition that cannot be used, maps that do not fit, a region or
                a mask that does not fit the image, or both, or with a query.
        """
        searcher = self._searcher(k, shortlist, where)
        if not isinstance(image, Query):
            return searcher.result(searcher.model.query(image, regions=regions, mask=mask))
        if len(regions) or mask is not None:
            raise UsageError("expected no regions and no mask with a query; give them to model.query")
        return searcher.result(image)

    def search_many(
        self,
        images: FeatureMaps | Iterable[Source],
        k: SupportsIndex | float = 10,
        shortlist: SearchShortlist | SupportsIndex | float = 100,
        where: str | None = None,
        *,
        batch_size: int = 32,
    ) -> list[SearchResult]:
        """As `search`, for several images: a result for each, in their order.

        The images are embedded in batches, and the index is read once for up to 64 of them, where it is searched
        exactly. The results are those of `search` for the same feature maps. Decoded images are not kept:
        `SearchResult.query.image` is None, and its `source` is the image as given.

        Args:
            images: images as `search` takes them, or feature maps of n images.
            k, shortlist, where: see `search`.
            batch_size: images per pass of the model.

        Raises:
            ImageError: the first image that cannot be read.
            UsageError: as `search`.
        """
        results = []
        for found in self._searcher(k, shortlist, where).stream(images, batch_size):
            if isinstance(found, FailedQuery):
                raise found.error
            results.append(found)
        return results

    def search_stream(
        self,
        images: Iterable[Source],
        k: SupportsIndex | float = 10,
        shortlist: SearchShortlist | SupportsIndex | float = 100,
        where: str | None = None,
        *,
        batch_size: int = 32,
    ) -> Iterator[SearchResult | FailedQuery]:
        """As `search_many`, for any number of images: results come batch by batch and are not held in memory.

        An image that cannot be read does not end the stream: a `FailedQuery` is in its place.

        Args:
            images: images as `search` takes them.
            k, shortlist, where: see `search`.
            batch_size: images that are embedded and searched together.

        Raises:
            UsageError: as `search`; k and shortlist are checked at once, the rest with the first image.

        >>> import tempfile
        >>> from pathlib import Path
        >>> model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32))
        >>> index = Index.create(Path(tempfile.mkdtemp()) / "empty.diml", model)
        >>> [type(found).__name__ for found in index.search_stream(["none.jpg"])]
        ['FailedQuery']
        """
        return self._searcher(k, shortlist, where).stream(images, batch_size, together=batch_size)

    def pairs(self, above: float = 0.9, where: str | None = None) -> Pairs:
        """All pairs of images that are alike, such as near-duplicates: each once, with its exact numbers, as found.

        What is not solved exactly is excluded by an upper bound, or by a similarity in float32 that is lower by more
        than ten times the matcher's tolerance. Copies of an image have a similarity below 1, because entropy blurs the
        plan. A one-sided transport compares both orders, and the better one counts.

        Args:
            above: the least similarity, above -1 and up to 1.
            where: SQL on the columns that both images meet, see `search`.

        Returns:
            An iterable of `Pair`; see its `estimate` before a long run. `Groups` joins pairs to groups.

        Raises:
            UsageError: `above` out of its range, or, on iterating, a condition that cannot be used.

        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> index = Index.create(Path(tempfile.mkdtemp()) / "features.diml")
        >>> maps = FeatureMaps(torch.eye(8).reshape(2, 4, 8)[[0, 1, 0]], grid=(2, 2))
        >>> index.add_maps(maps, paths=["a", "b", "c"], sizes=[(64, 64)] * 3).added
        3
        >>> [(pair.a, pair.b, round(pair.similarity, 3)) for pair in index.pairs(0.9)]
        [('a', 'c', 1.0)]
        """
        opened, own = self._state.snapshot()
        return Pairs(opened, own.with_matcher(**self._changes) if self._changes else own, above, where)

    def __repr__(self) -> str:
        return f"Index({self._state.name!r}, images={len(self)})"

    def _searcher(
        self, k: SupportsIndex | float, shortlist: SearchShortlist | SupportsIndex | float, where: str | None
    ) -> Searcher:
        hits, limit = check_k(k), check_search_shortlist(shortlist)
        opened, own = self._state.snapshot()
        model = own.with_matcher(**self._changes) if self._changes else own
        return Searcher(self._state.name, opened, model, own.matcher, hits, limit, where)
