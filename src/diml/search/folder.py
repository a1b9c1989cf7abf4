"""One call from a folder of images to an index of them."""

from __future__ import annotations

from diml.data.collection import Collection
from diml.errors import StoreError
from diml.files import AnyPath
from diml.model import StructuralModel
from diml.search import creation
from diml.search.as_collection import as_collection
from diml.search.codes import FLOAT16
from diml.search.decoding import check_bit_depth
from diml.search.engine import Engine
from diml.search.index import Index
from diml.search.manifest import MODEL, Manifest, is_index
from diml.search.places import Place, index_place, on_this_machine
from diml.search.settings import EXACT_LIMIT, Grid, ModelLike, as_grid, as_model
from diml.search.writer import AddReport, Progress


def index_folder(
    folder: AnyPath | Collection,
    into: AnyPath,
    *,
    model: ModelLike | None = None,
    grid: Grid | None = None,
    dim: int | None = None,
    labels_from: AnyPath | None = None,
    prune: bool = False,
    strict: bool = False,
    batch_size: int = 32,
    commit_seconds: float = 5.0,
    exact_limit: int = EXACT_LIMIT,
    bit_depth: int | None = None,
    codes: str | None = None,
    thumbnails: bool | None = None,
    sketches: bool | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
) -> tuple[Index, AddReport]:
    """Bring an index up to a collection; make it if it does not exist or its creation was interrupted.

    Args:
        folder: a folder, a table, tars and tables of images, or a collection; see `Index.add`.
        into: the folder of the index, or its address on an object store.
        model: a model or what `from_pretrained` takes; by default the index's own, for a new one `"lite0"`.
        grid: rows and columns, one number for a square; by default the index's own, for a new one the model's.
        dim: see `Index.create`; for an index that exists it must be the dim it was made with.
        bit_depth: see `Index.create`; for an index that exists it must be the one it was made with.
        codes, thumbnails, sketches: see `Index.create`; by default as in the index, which keeps them.
        labels_from, prune, strict, batch_size, commit_seconds, progress, engine: see `Index.add`.

    Raises:
        StoreError: the index cannot be opened, or was made with another model, grid, dim, bit depth or codes.
    """
    collection = as_collection(folder, labels_from)
    target = index_place(into)
    if is_index(target):
        check_same_form(target, codes, thumbnails, sketches)
        index = _open(target, model, grid, dim, bit_depth)
    else:
        index = Index.create(
            target,
            model or "lite0",
            grid=grid,
            dim=dim,
            exact_limit=exact_limit,
            bit_depth=bit_depth,
            codes=codes or FLOAT16,
            thumbnails=thumbnails is not False,
            sketches=bool(sketches),
        )
    report = index.add(
        collection,
        prune=prune,
        strict=strict,
        batch_size=batch_size,
        commit_seconds=commit_seconds,
        progress=progress,
        engine=engine,
    )
    return index, report


def check_same_form(folder: Place, codes: str | None, thumbnails: bool | None, sketches: bool | None) -> None:
    """Accept only the codes, thumbnails and sketches that an index was made with; None stands for them.

    Raises:
        StoreError: others.
    """
    manifest = Manifest.read(folder)
    if codes not in (None, manifest.codes):
        raise StoreError(
            f"expected codes {manifest.codes}, those of {folder}, got {codes}; leave the codes out, or make another "
            "index of this one by --recode"
        )
    if thumbnails not in (None, manifest.thumbnails):
        has = "thumbnails" if manifest.thumbnails else "no thumbnails"
        raise StoreError(f"{folder} was made with {has}; leave the option out, or make another index")
    if sketches not in (None, manifest.sketches):
        has = "sketches" if manifest.sketches else "no sketches"
        raise StoreError(
            f"{folder} was made with {has}; leave the option out, or make another index of this one by --recode"
        )


def _open(folder: Place, model: ModelLike | None, grid: Grid | None, dim: int | None, bit_depth: int | None) -> Index:
    shape = as_grid(grid)
    manifest = Manifest.read(folder)
    creation.check_same_dim(folder, manifest, dim)
    if model is not None:
        return Index.open(folder, model=as_model(model, shape or manifest.grid, bit_depth))
    check_bit_depth(folder, bit_depth)
    if shape not in (None, manifest.grid):
        with on_this_machine(folder / MODEL) as files:
            own = StructuralModel.from_pretrained(files)
        creation.check_same_model(folder, manifest, own.with_grid(shape))
    return Index.open(folder)
