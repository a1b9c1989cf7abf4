"""A copy of an index in other codes."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa

from diml.errors import StoreError, UsageError
from diml.files import AnyPath
from diml.search.adding_lock import making
from diml.search.codes import FLOAT16, Codec, parse_codes, save_codec
from diml.search.codes.sketches import Sketches
from diml.search.creation import clear
from diml.search.index import Index
from diml.search.index_state import IndexState
from diml.search.manifest import MODEL, Manifest, check_free, is_index
from diml.search.object_table import table_class
from diml.search.places import Place, index_place, on_this_machine, sizes, written_here
from diml.search.read_state import Opened
from diml.search.row_form import RowForm
from diml.search.settings import check_sketches
from diml.search.store import Store
from diml.search.stored_maps import stored_maps
from diml.search.writer import Progress

# Rows that are written at once, and images that centroids are fitted on at most.
BATCH = 4096
SAMPLE = 4096


def recode(
    index: AnyPath,
    into: AnyPath,
    codes: str,
    *,
    thumbnails: bool | None = None,
    sketches: bool | None = None,
    progress: Progress | None = None,
) -> Index:
    """Write a copy of an index whose maps are stored in other codes; no image is read, and the index stays as it is.

    Images that others add to the index meanwhile may be missing in the copy. The copy may be added to.

    Args:
        index: an index.
        into: a folder that does not exist yet, or one where this was interrupted.
        codes: see `Index.create`; not of more bytes than those of the index, as numbers that were not stored cannot be
            had back.
        thumbnails: False leaves the pictures out; None keeps what there is.
        sketches: whether the copy has sketches; None for those that there are, if they fit the codes.
        progress: called with the number of images done and the number to do.

    Returns:
        The copy, opened.

    Raises:
        StoreError: there is no index, there is something else at `into`, or it cannot be written.
        UsageError: there are no such codes, they need more bytes than there are now, there are too few images to fit
            them on, or the copy would be the same.
    """
    source, target = index_place(index), index_place(into).absolute()
    state = IndexState.open(source)
    opened = state.require()
    if is_index(target):
        raise StoreError(f"{target} is an index already; give a folder that does not exist yet")
    check_free(target)
    codec = _codec(source, opened, codes)
    form = _form(source, opened, codec, thumbnails, sketches)
    with making(target) as write:
        clear(target)
        try:
            write(_write(opened, source, target, form, progress))
        except BaseException:
            clear(target)
            raise
    return Index.open(target)


def _codec(folder: Place, opened: Opened[Store], codes: str) -> Codec | None:
    """The codec, fitted on a sample of the index; None for maps in float16."""
    manifest, store = opened
    parts = manifest.grid[0] * manifest.grid[1]
    codec = parse_codes(codes, parts, manifest.dim)
    stored = parse_codes(manifest.codes, parts, manifest.dim)
    if codec.name == stored.name:
        return store.codec
    if codec.bytes >= stored.bytes:
        raise UsageError(
            f"expected codes of fewer bytes than {manifest.codes}, which {folder} has ({stored.bytes} bytes an image), "
            f"got {codes} ({codec.bytes} bytes); embed the images again for more"
        )
    if not codec.fitted:
        ids = sorted(store.ids())
        chosen = sorted(random.Random(0).sample(ids, min(SAMPLE, len(ids))))
        maps = stored_maps(store.rows(chosen), manifest, store.codec)
        codec = codec.fit(maps.local, maps.weights_or_uniform, f"{len(chosen)} of the {len(ids)} images")
    return codec


def _form(
    folder: Place, opened: Opened[Store], codec: Codec | None, thumbnails: bool | None, sketches: bool | None
) -> RowForm:
    """What the rows of the copy have."""
    manifest, store = opened
    wanted = manifest.sketches and codec is None if sketches is None else sketches
    check_sketches(wanted, FLOAT16 if codec is None else codec.name)
    made = Sketches(manifest.grid[0] * manifest.grid[1], manifest.dim) if wanted else None
    form = RowForm(codec, manifest.thumbnails and thumbnails is not False, made)
    if form.codec is store.codec and form.thumbnails == manifest.thumbnails and wanted == manifest.sketches:
        raise UsageError(f"{folder} has the codes {manifest.codes} already; give others")
    return form


def _write(opened: Opened[Store], source: Place, target: Place, form: RowForm, progress: Progress | None) -> Manifest:
    manifest, store = opened
    with on_this_machine(source / MODEL) as model, written_here(target) as here:
        shutil.copytree(model, here / MODEL)
        digest = "" if form.codec is None else save_codec(form.codec, here)
    schema = form.schema(manifest.dim, manifest.grid[0] * manifest.grid[1], manifest.columns, manifest.weighted)
    copied = table_class(target).create(target, schema, form)
    total, done = store.count(), 0
    for rows in _recoded(opened, form, schema):
        copied.put(rows, replacing=False)
        done += len(rows)
        if progress is not None:
            progress(done, max(done, total))
    copied.tidy(manifest.exact_limit)
    return replace(
        manifest,
        codes=FLOAT16 if form.codec is None else form.codec.name,
        codes_digest=digest,
        codes_fitted_on="" if form.codec is None else form.codec.fitted_on,
        thumbnails=form.thumbnails,
        sketches=form.sketches is not None,
        model_files=sizes(target / MODEL),
        table_version=copied.version,
    )


def _recoded(opened: Opened[Store], form: RowForm, schema: pa.Schema) -> Iterator[pa.Table]:
    manifest, store = opened
    ids = sorted(store.ids())
    for start in range(0, len(ids), BATCH):
        # By their ids, as a writer may compact the table meanwhile.
        rows = store.rows(ids[start : start + BATCH])
        columns = form.columns(stored_maps(rows, manifest, store.codec))
        if not form.thumbnails:
            columns["thumbnail"] = pa.array([b""] * len(rows), pa.binary())
        values = [columns[name] if name in columns else rows[name] for name in schema.names]
        yield pa.table(values, schema=schema)
