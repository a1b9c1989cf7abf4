"""Creation: an empty table and a stored model; the manifest, last of all, is written by the caller."""

from __future__ import annotations

import copy
import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import nn

from diml.data.collection import Collection
from diml.errors import StoreError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import Fitting, HeadFitting, StructuralModel, head_dim, storable
from diml.model.head import DIM
from diml.model.storage import UNTRAINED_WEIGHTS
from diml.search.blocks import Block, blocks
from diml.search.codes import FILE as CODES
from diml.search.codes import FLOAT16, Codec, parse_codes, save_codec
from diml.search.codes.sketches import Sketches
from diml.search.decoding import with_decoding_of
from diml.search.features_only import features_model
from diml.search.items import Item, column_names, examined
from diml.search.manifest import FILE, MODEL, TABLE, UNFINISHED, Manifest
from diml.search.object_table import table_class
from diml.search.places import Place, remove, sizes, written_here
from diml.search.row_form import RowForm
from diml.search.schema import check_columns
from diml.search.settings import IndexSettings
from diml.search.store import Store

# Images on which the head of an index is fitted. Nothing can be stored before, so fewer are better, and whitening 128
# directions gains little from more: on emoji, 0.3 points of Recall@1 from 1,000 to 1,584.
SAMPLE = 1000
# Of features that were computed elsewhere.
GIVEN = "given"


class Created(NamedTuple):
    """A new index, and what was embedded to fit its head and weights, ready to be stored."""

    manifest: Manifest
    store: Store
    model: StructuralModel
    embedded: list[Block]


@dataclass(frozen=True)
class MapShape:
    """What all maps of an index have in common."""

    grid: tuple[int, int]
    dim: int
    own_pooled: bool
    weighted: bool

    @classmethod
    def of(cls, maps: FeatureMaps) -> MapShape:
        return cls(maps.grid, maps.dim, maps.own_pooled is not None, maps.weights is not None)

    @classmethod
    def stored(cls, manifest: Manifest) -> MapShape:
        return cls(manifest.grid, manifest.dim, manifest.own_pooled, manifest.weighted)

    @property
    def parts(self) -> int:
        return self.grid[0] * self.grid[1]

    def codec(self, name: str) -> Codec | None:
        """The codec of a name for these maps; None for maps in float16.

        Raises:
            UsageError: there are no such codes, or they do not fit.
        """
        codec = parse_codes(name, self.parts, self.dim)
        return None if codec.name == FLOAT16 else codec

    def check(self, maps: FeatureMaps) -> None:
        """Refuse maps of another shape."""
        given = MapShape.of(maps)
        if dataclasses.replace(given, weighted=self.weighted) != self:
            raise UsageError(f"expected feature maps of {self}, got {given}; compute both alike")
        if given.weighted and not self.weighted:
            raise UsageError(
                "expected feature maps without weights of parts, as the index has none, got weighted ones; "
                "use maps.replace(weights=None), or make another index"
            )
        if self.weighted and not given.weighted:
            raise UsageError(
                "expected feature maps with weights of parts, as those of the index, got none; "
                "use maps.replace(weights=...), or encode the images with the model of the index"
            )

    def __str__(self) -> str:
        pooled = "a pooled vector of their own" if self.own_pooled else "the mean as pooled vector"
        return f"grid {self.grid[0]}x{self.grid[1]}, dim {self.dim} and {pooled}"


def create(
    folder: Place,
    settings: IndexSettings,
    collection: Collection,
    items: Sequence[Item],
    batch_size: int,
    seen: Callable[[Block], None],
) -> Created:
    """Make an index under its lock; what an interrupted creation left behind is removed first.

    Args:
        seen: called with every block that is embedded to fit the head and the weights.
    """
    assert settings.model is not None
    columns = _columns(settings, collection)
    clear(folder)
    model, embedded = _with_fitting(settings, settings.model, collection.name, items, batch_size, seen)
    shape = MapShape.of(embedded[0].maps if embedded else probe(model))
    codec = shape.codec(settings.codes)
    if codec is not None and not codec.fitted:
        embedded = embedded or _sample(model, items, batch_size, seen)
        maps = FeatureMaps.cat([block.maps for block in embedded if len(block)] or [probe(model)[:0]])
        codec = _fitted(codec, maps, f"{len(maps)} of the {len(items)} images of {collection.name}")
    manifest, store = _write(folder, settings, model, shape, columns, collection.place, codec)
    return Created(manifest, store, model, embedded)


def create_for_maps(folder: Place, settings: IndexSettings, collection: Collection, maps: FeatureMaps) -> Created:
    """As `create`, for features that were computed elsewhere: no head is fitted.

    Raises:
        UsageError: maps of another shape than the model makes, or than was asked for.
    """
    expected_shape(settings, maps).check(maps)
    columns = _columns(settings, collection)
    clear(folder)
    model = settings.model or features_model(maps.grid)
    shape = MapShape.of(maps)
    codec = shape.codec(settings.codes)
    if codec is not None and not codec.fitted:
        codec = _fitted(codec, maps, f"the first {len(maps)} feature maps")
    manifest, store = _write(folder, settings, model, shape, columns, "", codec)
    return Created(manifest, store, model, [])


def expected_shape(settings: IndexSettings, maps: FeatureMaps) -> MapShape:
    """The shape of the maps that a new index is to hold; without a model, that of the maps where none was asked for."""
    if settings.model is not None:
        return MapShape.of(probe(settings.model))
    given = MapShape.of(maps)
    return dataclasses.replace(given, grid=settings.grid or given.grid, dim=settings.dim or given.dim)


def check_same_model(folder: Place, manifest: Manifest, model: StructuralModel) -> StructuralModel:
    """Accept only the model that the index was made with, before or after its head was fitted.

    Returns:
        The model, decoding image files as the index does: an index keeps its decoding as long as it exists.

    Raises:
        StoreError: another model, another grid, other weights or another bit depth.
    """
    if not manifest.embeds:
        raise StoreError(
            f"{folder} holds features that were computed elsewhere, without a model; leave the model out, or make "
            "another index to embed images"
        )
    if model.grid != manifest.grid:
        stored, given = ("x".join(map(str, grid)) for grid in (manifest.grid, model.grid))
        raise StoreError(
            f"expected grid {stored}, that of {folder}, got {given}; leave the grid out, or make another index"
        )
    model = with_decoding_of(folder, model)
    if manifest.weights == "uniform" and model.weights == UNTRAINED_WEIGHTS and not model.weights_ready:
        # The default of untrained models, which an index made before there was one keeps without.
        model = model.with_weights(None)
    if model.weights != manifest.weights:
        raise StoreError(
            f"expected weights {manifest.weights}, those of {folder}, got {model.weights}; leave the weights out, or "
            "make another index"
        )
    if model.fingerprint not in (manifest.fingerprint, manifest.made_from):
        raise StoreError(
            f"{folder} was made with the model {manifest.model} ({manifest.fingerprint[:8]}), got {model.name} "
            f"({model.fingerprint[:8]}); leave the model out to use that of the index, or make another index"
        )
    return model


def check_same_dim(folder: Place, manifest: Manifest, dim: int | None) -> None:
    if dim is not None and dim not in (manifest.asked_dim, manifest.dim):
        raise StoreError(
            f"expected dim {manifest.dim}, that of {folder}, got {dim}; leave dim out, or make another index"
        )


def clear(folder: Place) -> None:
    """Remove what makes an index, under its lock: the manifest first, so that nobody finds half of an index. On an
    object store a claim is in the place of the manifest, and stays.
    """
    parts = [CODES, MODEL, TABLE + ".lance"]
    if isinstance(folder, Path):
        unfinished = [file.name for file in folder.glob(UNFINISHED)]
        remove(folder, [FILE, *parts, *unfinished])
    else:
        remove(folder, parts)


def probe(model: StructuralModel) -> FeatureMaps:
    """The map of a grey image, which has the shape of every map; a grid that the backbone lacks is refused here."""
    return model.encode(Image.new("RGB", (64, 64), "grey"))


def _columns(settings: IndexSettings, collection: Collection) -> tuple[str, ...]:
    return check_columns(dict.fromkeys([*column_names(collection), *settings.columns]))


def _write(
    folder: Place,
    settings: IndexSettings,
    model: StructuralModel,
    shape: MapShape,
    columns: tuple[str, ...],
    collection: str,
    codec: Codec | None,
) -> tuple[Manifest, Store]:
    with written_here(folder) as here:
        model.save_pretrained(here / MODEL)
        digest = "" if codec is None else save_codec(codec, here)
    form = RowForm(codec, settings.thumbnails, Sketches(shape.parts, shape.dim) if settings.sketches else None)
    store = table_class(folder).create(folder, form.schema(shape.dim, shape.parts, columns, shape.weighted), form)
    manifest = Manifest(
        model=model.name,
        fingerprint=model.fingerprint,
        made_from=(settings.model or model).fingerprint,
        grid=shape.grid,
        dim=shape.dim,
        asked_dim=(DIM if settings.model else shape.dim) if settings.dim is None else settings.dim,
        head=model.head_fitted_on or "none",
        own_pooled=shape.own_pooled,
        columns=columns,
        exact_limit=settings.exact_limit,
        collection=collection,
        model_files=sizes(folder / MODEL),
        table_version=store.version,
        embeds=settings.model is not None,
        weights=model.weights if settings.model or not shape.weighted else GIVEN,
        codes=FLOAT16 if codec is None else codec.name,
        codes_digest=digest,
        codes_fitted_on="" if codec is None else codec.fitted_on,
        thumbnails=settings.thumbnails,
        sketches=settings.sketches,
    )
    return manifest, store


def _sample(
    model: StructuralModel, items: Sequence[Item], batch_size: int, seen: Callable[[Block], None]
) -> list[Block]:
    """Some of the images, embedded."""
    chosen = sorted(random.Random(0).sample(range(len(items)), min(SAMPLE, len(items))))
    sample = []
    for block in blocks(model, examined(items[at] for at in chosen), batch_size):
        sample.append(block)
        seen(block)
    return sample


def _fitted(codec: Codec, maps: FeatureMaps, on: str) -> Codec:
    """The codec with centroids of the maps as they would be stored."""
    return codec.fit(storable(maps)[0].float(), maps.weights_or_uniform.float(), on)


def _with_fitting(
    settings: IndexSettings,
    model: StructuralModel,
    name: str,
    items: Sequence[Item],
    batch_size: int,
    seen: Callable[[Block], None],
) -> tuple[StructuralModel, list[Block]]:
    """The model with what it lacks, a head or weights, fitted on a sample; for too few images it keeps no head."""
    dim = 0 if model.head_fitted else head_dim(settings.dim, model.dim)
    fitted = model.with_grid(model.grid)  # a shallow copy: the caller's model gets no head
    fitting = Fitting(fitted, HeadFitting(dim, most=SAMPLE) if dim else None, most=SAMPLE)
    chosen = fitting.sample(len(items))
    if not chosen:
        return model, []
    wanted = examined(items[at] for at in chosen)
    sample = []
    for block in blocks(fitting.bare, wanted, batch_size):
        sample.append(block)
        fitting.take(block.maps)
        seen(block)
    failures = [error for block in sample for _, error in block.failures]
    fitting.finish(len(items), name, str(failures[0]) if failures else "")
    # A copy on the CPU, where the maps are.
    encoder = copy.deepcopy(fitted.encoder.replace(backbone=nn.Identity())).to("cpu")
    return fitted, [block.finished(encoder) for block in sample]
