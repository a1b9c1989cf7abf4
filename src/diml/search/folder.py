"""One call from a folder of images to an index of them."""

from __future__ import annotations

import os
from pathlib import Path

from diml.data.collection import Collection
from diml.model import StructuralModel
from diml.search import creation
from diml.search.creation import EXACT_LIMIT
from diml.search.index import Index
from diml.search.intake import open_collection
from diml.search.manifest import MODEL, Manifest, is_index
from diml.search.writer import AddReport, Progress

AnyPath = str | os.PathLike[str]


def index_folder(
    folder: AnyPath | Collection,
    into: AnyPath,
    *,
    model: StructuralModel | str | None = None,
    grid: int | tuple[int, int] | None = None,
    dim: int | None = None,
    labels_from: AnyPath | None = None,
    prune: bool = False,
    strict: bool = False,
    batch_size: int = 32,
    commit_seconds: float = 5.0,
    exact_limit: int = EXACT_LIMIT,
    progress: Progress | None = None,
) -> tuple[Index, AddReport]:
    """Bring an index up to a collection, and make it if it is not there or its creation was cut off.

    Args:
        folder: a folder, a CSV file, or a collection.
        into: the index.
        model: a model or what `from_pretrained` takes; by default the index's own, for a new one `"lite0"`.
        grid: rows and columns, one number for a square; by default the index's own, for a new one the model's.
        dim: see `Index.create`; for an index that exists it must be the one it was made with.
        labels_from, prune, strict, batch_size, commit_seconds, progress: see `Index.add`.

    Raises:
        StoreError: an index that cannot be opened, or that was made by another model or with another grid or dim.
    """
    collection = open_collection(folder, labels_from)
    index = _open_or_create(Path(into), model, grid, dim, exact_limit)
    report = index.add(
        collection,
        prune=prune,
        strict=strict,
        batch_size=batch_size,
        commit_seconds=commit_seconds,
        progress=progress,
    )
    return index, report


def _open_or_create(
    folder: Path,
    model: StructuralModel | str | None,
    grid: int | tuple[int, int] | None,
    dim: int | None,
    exact_limit: int,
) -> Index:
    square = (grid, grid) if isinstance(grid, int) else grid
    if not is_index(folder):
        loaded = _load(model or "lite0", square)
        return Index.create(folder, loaded, dim=dim, exact_limit=exact_limit)
    manifest = Manifest.read(folder)
    creation.check_same_dim(folder, manifest, dim)
    if model is not None:
        return Index.open(folder, model=_load(model, square or manifest.grid))
    if square not in (None, manifest.grid):
        own = StructuralModel.from_pretrained(folder / MODEL)
        creation.check_same_model(folder, manifest, own.with_grid(square))
    return Index.open(folder)


def _load(model: StructuralModel | str, grid: tuple[int, int] | None) -> StructuralModel:
    loaded = model if isinstance(model, StructuralModel) else StructuralModel.from_pretrained(model)
    return loaded if grid in (None, loaded.grid) else loaded.with_grid(grid)
