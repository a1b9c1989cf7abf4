"""The intake: from files to blocks of rows. What was read is hashed before it is decoded, so a file that changes under
our hands is embedded anew the next time."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import nn

from diml.data.collection import Collection, open_csv, open_folder
from diml.errors import ImageError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel, storable

THUMBNAIL = 160


def image_id(path: str) -> str:
    """The id of an image: the first 16 hex digits of the SHA-256 of its path, relative to its collection.

    >>> image_id("cats/tom.jpg")
    'c20dca593997b815'
    """
    return hashlib.sha256(path.encode()).hexdigest()[:16]


def open_collection(
    images: str | os.PathLike[str] | Collection, labels_from: str | os.PathLike[str] | None
) -> Collection:
    """A collection from a folder, a CSV file, or a collection."""
    if isinstance(images, Collection):
        if labels_from is not None:
            raise UsageError("labels_from came with a collection, which has its labels already; leave it out")
        return images
    if Path(images).suffix.lower() == ".csv" and Path(images).is_file():
        if labels_from is not None:
            raise UsageError(f"labels_from came with {images}, which has its labels already; leave it out")
        return open_csv(images, labelled=False)
    return open_folder(images, labels_from)


@dataclass(frozen=True)
class Item:
    """An image of a collection, and what the collection says about it: only the columns that it knows."""

    id: str
    path: str
    file: Path
    meta: dict[str, str | None]


@dataclass(frozen=True)
class FileState:
    """A file's size, time and SHA-256 in hex; the hash is empty where it could not be read."""

    bytes: int
    mtime_ns: int
    hash: str


def items(collection: Collection) -> list[Item]:
    """The images of a collection; a `split` is a column as any other."""
    columns: dict[str, Sequence[str | None]] = dict(collection.columns)
    if collection.splits is not None:
        columns["split"] = collection.splits
    if collection.labels is not None:
        columns["label"] = collection.labels
    return [
        Item(image_id(path), path, collection.file(i), {name: values[i] for name, values in columns.items()})
        for i, path in enumerate(collection.paths)
    ]


def column_names(collection: Collection) -> list[str]:
    """Names of the further columns of a collection."""
    return [*collection.columns, *(["split"] if collection.splits is not None else [])]


def examine(file: Path) -> FileState:
    """Size, time and hash; without a hash where the file cannot be read, which decoding will explain."""
    try:
        status = os.stat(file)
        # A FIFO would keep us waiting.
        readable = stat.S_ISREG(status.st_mode)
        return FileState(status.st_size, status.st_mtime_ns, _sha256(file) if readable else "")
    except OSError:
        return FileState(0, 0, "")


def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


@dataclass(frozen=True)
class Block:
    """Images that went through the model together; the maps lie on the CPU, with geometry."""

    items: list[Item]
    states: list[FileState]
    maps: FeatureMaps
    thumbnails: list[bytes]
    failures: list[tuple[Item, ImageError]]

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, keep: Sequence[int], metas: Sequence[Mapping[str, str | None]], schema: pa.Schema) -> pa.Table:
        """Rows of the images at the positions `keep`, with a label and further columns each."""
        items, states = [self.items[i] for i in keep], [self.states[i] for i in keep]
        maps = self.maps[torch.tensor(keep, dtype=torch.int64)]
        geometry = maps.geometry
        assert geometry is not None
        local, pooled = storable(maps)
        values: dict[str, Any] = {
            "id": [item.id for item in items],
            "path": [item.path for item in items],
            "hash": [state.hash for state in states],
            "bytes": [state.bytes for state in states],
            "mtime_ns": [state.mtime_ns for state in states],
            "width": geometry.size[:, 0].numpy(),
            "height": geometry.size[:, 1].numpy(),
            "visible": _fixed(geometry.visible.numpy()),
            "pooled": _fixed(pooled.numpy()),
            "map": _fixed(local.flatten(1).numpy()),
            "thumbnail": [self.thumbnails[i] for i in keep],
        }
        columns = [values.get(name, [meta.get(name) for meta in metas]) for name in schema.names]
        return pa.table([_array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)

    def through(self, head: nn.Linear) -> Block:
        """The same block with its maps sent through a head; what is affine commutes with the resampling to the grid."""
        maps = self.maps
        with torch.no_grad():
            pooled = None if maps.own_pooled is None else head(maps.own_pooled)
            return replace(self, maps=FeatureMaps(head(maps.local), maps.grid, pooled, maps.geometry))


def blocks(model: StructuralModel, wanted: Iterable[tuple[Item, FileState]], batch_size: int) -> Iterator[Block]:
    """Decode and embed, a batch at a time; `wanted` is read lazily, a few batches ahead."""
    sent: list[tuple[Item, FileState]] = []

    def files() -> Iterator[Path]:
        for pair in wanted:
            sent.append(pair)
            yield pair[0].file

    for batch in model.stream(files(), batch_size=batch_size, keep=thumbnail):
        yield Block(
            [sent[i][0] for i in batch.indices],
            [sent[i][1] for i in batch.indices],
            batch.maps.detach().to("cpu"),
            batch.kept,
            [(sent[i][0], error) for i, error in batch.failures],
        )


def thumbnail(image: Image.Image) -> bytes:
    """JPEG bytes, longest side at most 160 px."""
    scale = min(1.0, THUMBNAIL / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0).save(file, "JPEG", quality=85)
    return file.getvalue()


def _fixed(matrix: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).reshape(-1)), matrix.shape[1])


def _array(values: Any, type: pa.DataType) -> pa.Array:
    return values if isinstance(values, pa.Array) else pa.array(values, type)
