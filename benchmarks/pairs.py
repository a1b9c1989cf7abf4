"""How long it takes to find the near-duplicates of a collection, and whether planted ones are found.

    python benchmarks/pairs.py --images 10000

Makes an index of random feature maps, of which some are near-duplicates: a planted image is another one with noise.
The images lie in clusters, so that pooled vectors alone leave many candidates. Prints a Markdown table: how many pairs
pass each bound, and how many of the planted ones are found. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.search import Groups, Index

# Maps that are made and stored together.
BATCH = 10_000


def batches(images: int, planted: int, grid: int, dim: int, noise: float) -> Iterator[tuple[list[str], FeatureMaps]]:
    """Names and maps of images; the first `planted` images have a copy with noise, whose name begins with "copy-"."""
    random = torch.Generator().manual_seed(0)
    parts, originals = grid * grid, images - planted
    centres = torch.randn(max(1, originals // 100), 1, dim, generator=random)
    for start in range(0, originals, BATCH):
        number = min(BATCH, originals - start)
        cluster = torch.randint(len(centres), (number,), generator=random)
        local = 1.5 * centres[cluster] + torch.randn(number, parts, dim, generator=random)
        yield [f"{at:07d}" for at in range(start, start + number)], FeatureMaps(local, (grid, grid))
        if copies := max(0, min(planted - start, number)):
            moved = local[:copies] + noise * torch.randn(copies, parts, dim, generator=random)
            names = [f"copy-{at:07d}" for at in range(start, start + copies)]
            yield names, FeatureMaps(moved, (grid, grid))


def make(folder: Path, options: argparse.Namespace) -> Index:
    index = Index.create(folder / "pairs.diml")
    for names, maps in batches(options.images, options.planted, options.grid, options.dim, options.noise):
        index.add_maps(maps, paths=names, sizes=[(224, 224)] * len(names))
    return index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--planted", type=int, default=None, help="near-duplicates among them; by default a tenth")
    parser.add_argument("--above", type=float, default=0.9)
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--transport", default="full")
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--noise", type=float, default=0.2)
    options = parser.parse_args()
    options.planted = options.images // 10 if options.planted is None else options.planted
    if not 0 <= options.planted <= options.images // 2:
        parser.error(f"expected --planted from 0 to half of the images, got {options.planted}")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        index = make(Path(folder), options).with_matcher(weight=options.weight, transport=options.transport)
        print(f"made {len(index)} images in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        search = index.pairs(options.above)
        times = {}
        start = time.perf_counter()
        _ = search.vectors
        times["reading the pooled vectors"] = time.perf_counter() - start
        start = time.perf_counter()
        estimate = search.estimate()
        times["estimate"] = time.perf_counter() - start
        start = time.perf_counter()
        groups, planted = Groups(), 0
        for pair in search:
            groups.join(pair.a, pair.b)
            planted += pair.b == f"copy-{pair.a}"
        times["all pairs"] = time.perf_counter() - start
    images, counts = options.images, search.counts
    print(
        f"{images:,} images, grid {options.grid}x{options.grid}, dim {options.dim}, weight {options.weight}, ", end=""
    )
    print(f"transport {options.transport}, above {options.above}, {torch.get_num_threads()} threads of PyTorch\n")
    rows = [[name, f"{seconds:.1f} s"] for name, seconds in times.items()]
    rows += [
        ["all pairs, estimated", f"{estimate.seconds:.1f} s"],
        ["pairs", f"{images * (images - 1) // 2:,}"],
        ["candidates by pooled vectors", f"{counts.candidates:,}"],
        ["candidates, estimated", f"{estimate.candidates:,}"],
        ["left by the structural bound", f"{counts.bounded:,}"],
        ["left by the ranking, solved exactly", f"{counts.solved:,}"],
        ["found", f"{counts.found:,}"],
        ["found, estimated", f"{estimate.found:,}"],
        ["planted pairs found", f"{planted:,} of {options.planted:,}"],
        ["groups", f"{len(groups.largest_first()):,}"],
        ["largest memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"],
    ]
    print(table(["what", "measured"], rows))


if __name__ == "__main__":
    main()
