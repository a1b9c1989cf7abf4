"""What `--shortlist proven` reads and takes, against `--shortlist all`, whose hits it gives.

    python -m benchmarks.proven --data DATA [--collections emoji furniture ...] [--made 100000] [--queries 100]

DATA is as for benchmarks.defaults.choose; galleries are the test halves', with the defaults of an untrained model.
`--made` adds an index of so many made images (see scale_maps.py). Queries are whole, or 2 x 2 cells at random, and ask
for 10 hits. Both ways answer each query in turn; it is checked that they give the same. Times are medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.codes import MATCHER, WEIGHTS
from benchmarks.defaults.tasks import NAMES, Fitted, raw_maps
from benchmarks.scale_maps import mixed, real_maps
from diml.feature_maps import FeatureMaps, Geometry
from diml.markdown import table
from diml.search import Index, SearchResult

SIDE = 64
BATCH = 10_000
MATCHED = {"transport": MATCHER.transport, "weight": MATCHER.weight}


def shown(maps: FeatureMaps) -> FeatureMaps:
    """The maps as those of square images, whole."""
    whole = torch.tensor([[0.0, 0.0, SIDE, SIDE]]).double().expand(len(maps), 4)
    return maps.replace(geometry=Geometry(torch.full((len(maps), 2), SIDE), whole))


def of_collection(name: str, options: argparse.Namespace, place: Path) -> tuple[Index, FeatureMaps]:
    raw = raw_maps(name, options.data, options.cache or options.data / "maps")
    task = Fitted(raw, raw.train).task([not train for train in raw.train], WEIGHTS)
    index = Index.create(place / name, sketches=True)
    index.add_maps(shown(task.gallery), paths=[f"{at:06}" for at in range(len(task.gallery))])
    return index, shown(task.queries)


def of_made(images: int, place: Path) -> tuple[Index, FeatureMaps]:
    real, generator = real_maps(place / "real"), torch.Generator().manual_seed(1)
    index = Index.create(place / "made", sketches=True)
    for start in range(0, images, BATCH):
        maps = shown(mixed(real, min(BATCH, images - start), generator))
        index.add_maps(maps, paths=[f"{start + at:09}" for at in range(len(maps))])
    return index, shown(mixed(real, 1000, torch.Generator().manual_seed(2)))


def squares(count: int, grid: tuple[int, int], generator: torch.Generator) -> list[tuple[float, float, float, float]]:
    """Boxes of 2 x 2 cells."""
    rows, columns = (torch.randint(cells - 1, (count,), generator=generator).tolist() for cells in grid)
    high, wide = SIDE / grid[0], SIDE / grid[1]
    return [(c * wide, r * high, (c + 2) * wide, (r + 2) * high) for r, c in zip(rows, columns, strict=True)]


def rows(name: str, index: Index, queries: FeatureMaps, count: int) -> Iterator[list[str]]:
    generator = torch.Generator().manual_seed(0)
    at = torch.randperm(len(queries), generator=generator)[:count].tolist()
    boxes = squares(count, queries.grid, generator)
    index = index.with_matcher(**MATCHED)
    for kind in ("whole", "2 x 2 cells"):
        seconds: dict[str, list[float]] = {"all": [], "proven": []}
        read = []
        for k, box in zip(at, boxes, strict=False):
            found: list[SearchResult] = []
            for way in ("all", "proven"):
                start = time.perf_counter()
                regions = [box] if kind != "whole" else []
                found.append(index.search(queries[k], 10, "all" if way == "all" else "proven", regions=regions))
                seconds[way].append(time.perf_counter() - start)
            assert [hit.to_dict() for hit in found[0]] == [hit.to_dict() for hit in found[1]]
            read.append((found[1].maps_read or 0) / len(index))
        every, proven = (1000 * statistics.median(seconds[way]) for way in ("all", "proven"))
        share = (statistics.mean(read), max(read))
        yield [f"{name}, {len(index):,}", kind, *(f"{each:.1%}" for each in share), f"{every:.0f}", f"{proven:.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--collections", nargs="*", default=list(NAMES))
    parser.add_argument("--made", type=int, nargs="*", default=[])
    parser.add_argument("--queries", type=int, default=100)
    options = parser.parse_args()
    found: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name in options.collections:
            found += rows(name, *of_collection(name, options, place), options.queries)
        for images in options.made:
            found += rows("made", *of_made(images, place / str(images)), options.queries)
    header = ["gallery", "query", "maps read, mean", "most", "all, ms", "proven, ms"]
    print(table(header, found, left=2))


if __name__ == "__main__":
    main()
