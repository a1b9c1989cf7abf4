"""Blocks of images that were embedded together, and their rows.

A file is hashed before it is decoded, so one that changes in between is embedded again the next time.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from PIL import Image

from diml.data.located import Located, NamedBytes
from diml.embedding import Encoder
from diml.errors import ImageError
from diml.feature_maps import FeatureMaps
from diml.image_sizes import original_of
from diml.model import StructuralModel, storable
from diml.search.items import Examined, FileState, Item
from diml.search.row_form import RowForm, fixed_lists

# Longest side of a thumbnail in pixels.
THUMBNAIL = 160


@dataclass(frozen=True)
class Block:
    """Images that were embedded together; the maps are on the CPU and have a geometry."""

    items: list[Item]
    states: list[FileState]
    maps: FeatureMaps
    thumbnails: list[bytes]
    failures: list[tuple[Item, ImageError]]

    def __len__(self) -> int:
        return len(self.items)

    def rows(
        self, keep: Sequence[int], metas: Sequence[Mapping[str, str | None]], schema: pa.Schema, form: RowForm
    ) -> pa.Table:
        """Rows of the images at the positions `keep`; `metas` are the label and the further columns of each."""
        if not keep:  # another writer stored them all; a code of no maps has no shape
            return schema.empty_table()
        items, states = [self.items[i] for i in keep], [self.states[i] for i in keep]
        return table_of(items, states, self.columns(keep, form), metas, schema)

    def columns(self, keep: Sequence[int], form: RowForm) -> dict[str, Any]:
        """What was computed from the images at the positions `keep`, by the names of the columns."""
        maps = self.maps[torch.tensor(keep, dtype=torch.int64)]
        geometry = maps.geometry
        assert geometry is not None
        return {
            "width": geometry.size[:, 0].numpy(),
            "height": geometry.size[:, 1].numpy(),
            "visible": fixed_lists(geometry.visible.numpy()),
            **form.columns(maps),
            "thumbnail": [self.thumbnails[i] if form.thumbnails else b"" for i in keep],
        }

    def part(self, keep: Sequence[int]) -> Block:
        """The images at these positions."""
        return Block(
            [self.items[i] for i in keep],
            [self.states[i] for i in keep],
            self.maps[list(keep)],
            [self.thumbnails[i] for i in keep],
            self.failures,
        )

    @torch.no_grad()
    def finished(self, encoder: Encoder) -> Block:
        """The same block after the head and with the weights of an encoder, which is on the CPU."""
        return replace(self, maps=encoder.finished(self.maps))


def blocks(model: StructuralModel, wanted: Iterable[Examined], batch_size: int) -> Iterator[Block]:
    """Decode and embed, a batch at a time; `wanted` is read lazily, a few batches ahead."""
    sent: list[tuple[Item, FileState]] = []

    def files() -> Iterator[Path | Located | NamedBytes]:
        for item, state, content in wanted:
            sent.append((item, state))
            yield content

    for batch in model.stream(files(), batch_size=batch_size, keep=thumbnail):
        yield Block(
            [sent[i][0] for i in batch.indices],
            [sent[i][1] for i in batch.indices],
            batch.maps.detach().to("cpu"),
            batch.kept,
            [(sent[i][0], error) for i, error in batch.failures],
        )


def given_block(items: Sequence[Item], maps: FeatureMaps) -> Block:
    """Feature maps that were computed elsewhere, hashed in place of a file, without thumbnails."""
    maps = maps.detach().to("cpu")
    assert maps.geometry is not None
    local, pooled = storable(maps)
    weights = () if maps.weights is None else (maps.weights.float(),)
    columns = (local, pooled, maps.geometry.size, maps.geometry.visible, *weights)
    states = []
    for values in zip(*columns, strict=True):
        digest = hashlib.sha256(b"".join(value.contiguous().numpy().tobytes() for value in values))
        states.append(FileState(0, 0, digest.hexdigest()))
    return Block(list(items), states, maps, [b""] * len(items), [])


def thumbnail(image: Image.Image) -> bytes:
    """JPEG bytes, longest side at most 160 pixels."""
    original = original_of(image)
    scale = min(1.0, THUMBNAIL / max(original.size))
    width, height = (max(1, round(side * scale)) for side in original.size)
    file = io.BytesIO()
    small = image.resize((width, height), Image.Resampling.BICUBIC, original.box, reducing_gap=2.0)
    small.save(file, "JPEG", quality=85)
    return file.getvalue()


def table_of(
    items: Sequence[Item],
    states: Sequence[FileState],
    computed: Mapping[str, Any],
    metas: Sequence[Mapping[str, str | None]],
    schema: pa.Schema,
) -> pa.Table:
    """Rows of images.

    Args:
        computed: the columns that come from the images, see `Block.columns`.
        metas: the label and the further columns of each.
    """
    values: dict[str, Any] = {
        "id": [item.id for item in items],
        "path": [item.path for item in items],
        "hash": [state.hash for state in states],
        "bytes": [state.bytes for state in states],
        "mtime_ns": [state.mtime_ns for state in states],
        **computed,
    }
    columns = [values.get(name, [meta.get(name) for meta in metas]) for name in schema.names]
    return pa.table([_array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def _array(values: Any, type: pa.DataType) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values if values.type == type else values.cast(type)
    return pa.array(values, type)
