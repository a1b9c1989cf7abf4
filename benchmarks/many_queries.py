"""Queries per second of `Index.search` in a loop and of `Index.search_many`, which reads the index once for a block.

    OMP_NUM_THREADS=1 python benchmarks/many_queries.py [--rows 5000 20000 60000] [--queries 128] [--runs 5] [--dim 128]

Random feature maps of 16 parts are stored, and others are looked for, so that nothing is embedded. The two take turns;
the numbers are medians, and the results of both are compared: they are equal to the last bit. Prints a Markdown table.
Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.search import Index, SearchResult

GRID = (4, 4)
WAYS = ("search in a loop", "search_many")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[5000, 20_000, 60_000])
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--dim", type=int, default=128)
    options = parser.parse_args()
    print(
        f"{options.queries} queries, 16 parts of {options.dim} numbers, 10 hits, a shortlist of 100, "
        f"{torch.get_num_threads()} threads, medians of {options.runs} runs\n"
    )
    queries = random_maps(options.queries, options.dim, seed=1)
    lines = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as place:
            index = random_index(Path(place), rows, options.dim)
            rates = compare(index, queries, options.runs)
        lines.append([f"{rows:,}", *(f"{rate:.0f}" for rate in rates), f"{rates[1] / rates[0]:.1f}"])
    print(table(["images", *(f"{way}, queries/s" for way in WAYS), "times as fast"], lines))


def random_maps(n: int, dim: int, seed: int) -> FeatureMaps:
    """Images whose parts are alike."""
    generator = torch.Generator().manual_seed(seed)
    local = torch.randn(n, 16, dim, generator=generator) + torch.randn(n, 1, dim, generator=generator)
    return FeatureMaps(local, GRID)


def random_index(folder: Path, rows: int, dim: int) -> Index:
    index = Index.create(folder / "random.diml")
    index.add_maps(random_maps(rows, dim, seed=0), paths=[f"{i:06}" for i in range(rows)], sizes=[(64, 64)] * rows)
    return index


def compare(index: Index, queries: FeatureMaps, runs: int) -> list[float]:
    """Queries per second of each way."""
    ways: tuple[Callable[[], list[SearchResult]], ...] = (
        lambda: [index.search(queries[i]) for i in range(len(queries))],
        lambda: index.search_many(queries),
    )
    times: list[list[float]] = [[] for _ in ways]
    for run in range(runs + 1):
        documents: list[list[dict[str, Any]]] = []
        for way, taken in zip(ways, times, strict=True):
            start = time.perf_counter()
            found = way()
            if run:  # what is compiled and read first does not count
                taken.append(time.perf_counter() - start)
            documents.append([one.to_dict() for one in found])
        assert documents[0] == documents[1]
    return [len(queries) / statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
