"""Feature maps of as many images as wanted, made of those of some real ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import torch
from PIL import Image, ImageOps
from torch import Tensor

import diml
from diml.feature_maps import FeatureMaps, Geometry
from diml.search.store import Store

SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "emoji"
DIM = 128
CHUNK = 4096
SIZE = 224


def real_maps(folder: Path) -> FeatureMaps:
    """The maps of the sample's drawings, and of these mirrored, by the default model with a head of 128 numbers."""
    for file in SAMPLE.rglob("*.png"):
        for name, image in (("plain", Image.open(file)), ("mirrored", ImageOps.mirror(Image.open(file)))):
            target = folder / "images" / name / file.relative_to(SAMPLE)
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target)
    index = diml.Index.create(folder / "real.diml", "lite0", dim=DIM)
    index.add(folder / "images")
    maps = index.maps(index.paths)
    assert maps.dim == DIM
    return maps


def mixed(real: FeatureMaps, count: int, generator: torch.Generator) -> FeatureMaps:
    """New images: a rectangle of cells of one drawing in the cells of another, each number changed by a fifth.

    The weight of a part goes with it.
    """
    first, second = (torch.randint(len(real), (count,), generator=generator) for _ in range(2))
    inside = _rectangles(count, real.grid, generator)
    local = torch.where(inside[:, :, None], real.local[first], real.local[second])
    weights = torch.where(inside, real.weights_or_uniform[first], real.weights_or_uniform[second])
    local = local * (1 + 0.2 * torch.randn(local.shape, generator=generator))
    geometry = Geometry(torch.full((count, 2), SIZE), torch.tensor([[0.0, 0.0, SIZE, SIZE]]).double().expand(count, 4))
    return FeatureMaps(local, real.grid, geometry=geometry, weights=weights)


def _rectangles(count: int, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(count, r): cells of a random rectangle of each grid."""
    sides = []
    for cells in grid:
        ends = torch.randint(cells, (count, 2), generator=generator).sort(dim=1).values
        at = torch.arange(cells)
        sides.append((at >= ends[:, :1]) & (at <= ends[:, 1:]))
    return (sides[0][:, :, None] & sides[1][:, None]).flatten(1)


def put(
    store: Store, real: FeatureMaps, images: int, seed: int = 0, first: int = 0, chunk: int = CHUNK
) -> Iterator[int]:
    """Store so many made images, as an index stores those that it embedded; gives the number done.

    Args:
        first: number of the first one.
        chunk: images of a commit.
    """
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, images, chunk):
        maps = mixed(real, min(chunk, images - start), generator)
        store.put(_rows(maps, first + start, store), replacing=False)
        yield start + len(maps)


def _rows(maps: FeatureMaps, start: int, store: Store) -> pa.Table:
    n = len(maps)
    numbers = range(start, start + n)
    assert maps.geometry is not None
    visible = pa.FixedSizeListArray.from_arrays(pa.array(maps.geometry.visible.flatten().numpy()), 4)
    columns = {
        **store.form.columns(maps),
        "id": [f"{number:016x}" for number in numbers],
        "path": [f"made/{number:09d}.png" for number in numbers],
        "hash": [f"{number:064x}" for number in numbers],
        "bytes": [0] * n,
        "mtime_ns": [0] * n,
        "width": [SIZE] * n,
        "height": [SIZE] * n,
        "visible": visible,
        "thumbnail": [b""] * n,
    }
    values = [columns.get(field.name, [None] * n) for field in store.schema]
    arrays = [v if isinstance(v, pa.Array) else pa.array(v, f.type) for v, f in zip(values, store.schema, strict=True)]
    return pa.table(arrays, schema=store.schema)
