"""Creation: from a model and a first collection to an empty table, a stored model and, last of all, the manifest."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from diml.data.collection import Collection
from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import HeadFitting, StructuralModel, head_dim
from diml.model.head import DIM
from diml.search.intake import Block, Item, blocks, column_names, examine
from diml.search.manifest import FILE, MODEL, TABLE, Manifest, sizes
from diml.search.schema import check_columns, table_schema
from diml.search.store import Store

# Images on which the head of an index is fitted. Nothing can be stored before, so fewer are better, and whitening 128
# directions gains little from more: on emoji, 0.3 points of Recall@1 from 1,000 to 1,584.
SAMPLE = 1000
EXACT_LIMIT = 100_000


@dataclass(frozen=True)
class IndexSettings:
    """How an index is to be made.

    Attributes:
        model: the model as it came.
        dim: outputs of the head that is fitted for a model without one; None for the default, 0 for no head.
        columns: further columns beyond those that the first collection has.
        exact_limit: number of images up to which the coarse search is exact.
    """

    model: StructuralModel
    dim: int | None = None
    columns: tuple[str, ...] = ()
    exact_limit: int = EXACT_LIMIT

    def __post_init__(self) -> None:
        if self.dim is not None and self.dim < 0:
            raise UsageError(f"dim {self.dim} came; expected 1 or more, or 0 to keep the backbone's own channels")
        check_columns(self.columns)
        if self.dim and self.model.head_fitted and self.dim != self.model.dim:
            raise UsageError(
                f"dim {self.dim} was asked for and the model {self.model.name} has a head of dim {self.model.dim}; "
                "leave dim out"
            )


def create(
    folder: Path,
    settings: IndexSettings,
    collection: Collection,
    items: Sequence[Item],
    batch_size: int,
    seen: Callable[[Block], None],
) -> tuple[Manifest, Store, StructuralModel, list[Block]]:
    """Make an index under its lock; whatever an earlier creation left behind is made anew.

    Args:
        seen: called with every block that is embedded on the way.

    Returns:
        The manifest, the store, the model with its head, and what was embedded for fitting it, ready to be stored.
    """
    columns = check_columns(dict.fromkeys([*column_names(collection), *settings.columns]))
    clear(folder)
    model, embedded = _with_head(settings, collection.name, items, batch_size, seen)
    shape = embedded[0].maps if embedded else probe(model)
    model.save_pretrained(folder / MODEL)
    store = Store.create(folder, table_schema(shape.dim, shape.parts, columns))
    manifest = Manifest(
        model=model.name,
        fingerprint=model.fingerprint,
        made_from=settings.model.fingerprint,
        grid=shape.grid,
        dim=shape.dim,
        asked_dim=DIM if settings.dim is None else settings.dim,
        head=model.head_fitted_on or "none",
        own_pooled=shape.own_pooled is not None,
        columns=columns,
        exact_limit=settings.exact_limit,
        collection=str(collection.root.absolute()),
        model_files=sizes(folder / MODEL),
        table_version=store.version,
    )
    manifest.write(folder)
    return manifest, store, model, embedded


def check_same_model(folder: Path, manifest: Manifest, model: StructuralModel) -> None:
    """Let a model in that the index was made with, before or after its head was fitted.

    Raises:
        StoreError: another model, or another grid.
    """
    if model.grid != manifest.grid:
        ours, theirs = ("x".join(map(str, grid)) for grid in (manifest.grid, model.grid))
        raise StoreError(f"{folder} has grid {ours} and {theirs} came; leave the grid out, or make another index")
    if model.fingerprint not in (manifest.fingerprint, manifest.made_from):
        raise StoreError(
            f"{folder} was made with the model {manifest.model} ({manifest.fingerprint[:8]}) and {model.name} "
            f"({model.fingerprint[:8]}) came; leave the model out to use the index's own, or make another index"
        )


def check_same_dim(folder: Path, manifest: Manifest, dim: int | None) -> None:
    if dim is not None and dim not in (manifest.asked_dim, manifest.dim):
        raise StoreError(f"{folder} has dim {manifest.dim} and {dim} came; leave dim out, or make another index")


def clear(folder: Path) -> None:
    """Remove what makes an index, under its lock: first the manifest, so that no one finds half of one."""
    (folder / FILE).unlink(missing_ok=True)
    for part in (MODEL, TABLE + ".lance"):
        if (folder / part).exists():
            shutil.rmtree(folder / part)
    (folder / (FILE + ".part")).unlink(missing_ok=True)


def _with_head(
    settings: IndexSettings, name: str, items: Sequence[Item], batch_size: int, seen: Callable[[Block], None]
) -> tuple[StructuralModel, list[Block]]:
    """The model with a head fitted on a sample of the images; as it came if it has one or the images are too few."""
    dim = 0 if settings.model.head_fitted else head_dim(settings.dim, settings.model.dim)
    if dim == 0:
        return settings.model, []
    fitting = HeadFitting(dim, most=SAMPLE)
    wanted = ((items[at], examine(items[at].file)) for at in fitting.sample(len(items)))
    sample = []
    for block in blocks(settings.model, wanted, batch_size):
        sample.append(block)
        seen(block)
    model = settings.model.with_grid(settings.model.grid)  # a shallow copy: the caller's own gets no head
    if not fitting.fit(model, [block.maps.mean for block in sample], len(items), name):
        return settings.model, sample
    head = model.encoder.head
    assert head is not None
    head.to("cpu")
    embedded = [block.through(head) for block in sample]
    head.to(model.encoder.device)
    return model, embedded


def probe(model: StructuralModel) -> FeatureMaps:
    """The map of a grey image, of the same shape as any; a grid that the backbone does not have is refused here."""
    return model.encode(Image.new("RGB", (64, 64), "grey"))
