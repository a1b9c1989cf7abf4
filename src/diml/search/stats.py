"""What is in an index, in numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from diml.matching.defaults import BIN_SIMILARITY, TRANSPORT
from diml.model.config import read_config
from diml.model.storage import CONFIG
from diml.search.codes import FLOAT16
from diml.search.decoding import stored_decoding
from diml.search.manifest import MODEL, Manifest
from diml.search.places import Place, sizes
from diml.search.schema import CODE, MAP, SKETCH, WEIGHTS
from diml.search.stored_rows import StoredRows

# Images whose bytes are counted.
SAMPLE = 1000


@dataclass(frozen=True)
class IndexStats:
    """What is in an index.

    Attributes:
        path: of the index; of several, their paths in one line.
        images: how many.
        model: name of its model, "none" without one; `fingerprint` distinguishes models of one name.
        grid, dim: rows and columns of the matching grid, numbers per part.
        head: what the head was fitted on, in words; "none" without one.
        weights: name of the weights of parts, and what they were fitted on, in words; "uniform" without any.
        matching: how its model compares images, in words; None without a model.
        format: version of the index's format.
        labels: number of distinct labels.
        columns: names of the further columns.
        bytes: on disk, the model included.
        collection: the folder it was made of; empty for feature maps.
        exact_limit: number of images up to which the coarse search is exact.
        graph: whether there is an HNSW graph for more.
        decoding: version of the decoding of image files, see `diml.data.open_image`; None without a model.
        bit_depth: bits of the samples in 16-bit images that it was made with; None where none were given.
        backends: what has embedded its images, such as torch; empty where that is not known.
        codes: how the maps are stored, and what centroids were fitted on, in words.
        row_bytes: of an image by what they hold, a mean of the first 1,000 images; before compression, and without the
            graph.
        sketches: whether there are sketches, which `shortlist="proven"` needs.
        shards: of several indices that were opened as one, the number of images of each; empty for a single index.
    """

    path: str
    images: int
    model: str
    fingerprint: str
    grid: tuple[int, int]
    dim: int
    head: str
    weights: str
    matching: str | None
    format: int
    labels: int
    columns: tuple[str, ...]
    bytes: int
    collection: str
    exact_limit: int
    graph: bool
    decoding: int | None
    bit_depth: int | None
    backends: tuple[str, ...] = ()
    codes: str = FLOAT16
    row_bytes: Mapping[str, float] = field(default_factory=dict)
    sketches: bool = False
    shards: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values: what `diml info --json` prints; `shards` is present if there are several."""
        lists = {"grid": list(self.grid), "columns": list(self.columns), "backends": list(self.backends)}
        stated = {**asdict(self), **lists}
        if not self.shards:
            del stated["shards"]
        return stated


def stats_of(
    name: str, folders: Sequence[Place], manifest: Manifest, store: StoredRows, shards: Iterable[str]
) -> IndexStats:
    """Read the manifest and count rows and bytes.

    Args:
        name: of the index.
        folders: of the index, which have one model.
        shards: names of the folders if there are several.
    """
    folder, counts = folders[0], store.counts()
    decoding, bit_depth = stored_decoding(folder) if manifest.embeds else (None, None)
    return IndexStats(
        path=name,
        images=sum(counts),
        model=manifest.model,
        fingerprint=manifest.fingerprint,
        grid=manifest.grid,
        dim=manifest.dim,
        head=manifest.head,
        weights=_weights(folder, manifest),
        matching=_matching(folder) if manifest.embeds else None,
        format=manifest.version,
        labels=len(store.labels()),
        columns=manifest.columns,
        bytes=sum(sum(sizes(each).values()) for each in folders),
        collection=manifest.collection,
        exact_limit=manifest.exact_limit,
        graph=store.has_graph(),
        decoding=decoding,
        bit_depth=bit_depth,
        backends=manifest.backends,
        codes=f"{manifest.codes}, fitted on {manifest.codes_fitted_on}" if manifest.codes_fitted_on else manifest.codes,
        row_bytes=_row_bytes(store),
        sketches=manifest.sketches,
        shards=dict(zip(shards, counts, strict=False)),
    )


def _row_bytes(store: StoredRows) -> dict[str, float]:
    rows = store.first(SAMPLE)
    places = {
        MAP: "map",
        CODE: "map",
        SKETCH: "sketch",
        "pooled": "pooled",
        WEIGHTS: "weights",
        "thumbnail": "thumbnail",
    }
    found = dict.fromkeys(["map", "sketch", "pooled", "weights", "thumbnail", "rest"], 0.0)
    for column in rows.column_names if len(rows) else ():
        values = rows[column]
        # Without the offsets of values of many lengths.
        varies = pa.types.is_binary(values.type) or pa.types.is_string(values.type)
        total = pc.sum(pc.binary_length(values)).as_py() or 0 if varies else values.nbytes
        found[places.get(column, "rest")] += total / len(rows)
    return {name: round(number, 1) for name, number in found.items()}


def _weights(folder: Place, manifest: Manifest) -> str:
    fitted_on = read_config(folder / MODEL / CONFIG).get("weights_fitted_on") if manifest.weighted else None
    return f"{manifest.weights}, fitted on {fitted_on}" if fitted_on else manifest.weights


def _matching(folder: Place) -> str:
    """Of a model's configuration, in which older versions have no transport."""
    settings = read_config(folder / MODEL / CONFIG)["matching"]
    transport = settings.get("transport", TRANSPORT)
    if transport == "dustbin":
        transport += f":{settings.get('bin_similarity', BIN_SIMILARITY):g}"
    if settings.get("mass", 1) < 1:
        transport = f"partial, mass {settings['mass']:g}"
    return f"{transport}, {settings['marginals']} marginals, weight {settings['weight']:g}, eps {settings['eps']:g}"
