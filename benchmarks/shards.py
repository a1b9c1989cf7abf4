"""What a search of several indices, opened as one, takes, against one index of the same images.

Maps are made as in `benchmarks.pairs`, and dealt out to the shards. One index and the shards are searched in turn,
query by query, so that whatever else the machine does weighs on all of them alike; times are medians. All must give the
same hits with the same numbers, which is checked.

    python -m benchmarks.shards --images 20000 --shards 2 4 8
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch

from benchmarks.pairs import batches
from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.search import Index, SearchResult

GRID, DIM = 4, 128
# Queries that are searched together.
TOGETHER = 32
QUESTIONS: dict[str, Callable[[Index, FeatureMaps, int], list[SearchResult]]] = {
    "shortlist 0": lambda index, queries, at: [index.search(queries[at], shortlist=0)],
    "shortlist 100": lambda index, queries, at: [index.search(queries[at])],
    "shortlist 1,000": lambda index, queries, at: [index.search(queries[at], shortlist=1000)],
    "shortlist 100, with a condition": lambda index, queries, at: [index.search(queries[at], where="label = 'a'")],
    "shortlist all": lambda index, queries, at: [index.search(queries[at], shortlist="all")],
    f"{TOGETHER} queries at once, each": lambda index, queries, at: index.search_many(queries),
}


def make(folder: Path, images: int, numbers: list[int]) -> dict[int, list[Path]]:
    """Indices of the same images: by their number, the paths of so many."""
    paths = {number: [folder / f"{number}-{part}.diml" for part in range(number)] for number in (1, *numbers)}
    opened = {path: Index.create(path) for parts in paths.values() for path in parts}
    for names, maps in batches(images, 0, GRID, DIM, 0.0):
        labels = ["abcd"[i % 4] for i in range(len(names))]
        for number, parts in paths.items():
            for part, path in enumerate(parts):
                mine = slice(part, None, number)
                sizes = [(224, 224)] * len(names[mine])
                opened[path].add_maps(maps[mine], paths=names[mine], labels=labels[mine], sizes=sizes)
    return paths


def document(results: list[SearchResult]) -> list[list[tuple[object, ...]]]:
    return [[(hit.id, hit.similarity, hit.pooled_rank, hit.margin) for hit in result] for result in results]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--shards", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        made = make(Path(place), options.images, options.shards)
        paths = {"one index": made[1], **{f"{number} shards": made[number] for number in options.shards}}
        indices = {name: Index.open(each) for name, each in paths.items()}
        last = options.shards[-1]
        in_turn = indices[f"{last}, one after another"] = Index.open(made[last])
        queries = next(batches(TOGETHER, 0, GRID, DIM, 0.0))[1]
        queries = queries.replace(local=queries.local + 0.3 * torch.randn(queries.local.shape))
        times: dict[str, dict[str, list[float]]] = {}
        for question, ask in QUESTIONS.items():
            times[question] = {name: [] for name in indices}
            for at in range(-1, options.repeats):  # the first is not counted: it loads and compiles
                found = []
                for name, index in indices.items():
                    start = time.perf_counter()
                    with patch("diml.search.shards.TOGETHER", 1) if index is in_turn else nullcontext():
                        results = ask(index, queries, max(at, 0) % TOGETHER)
                    taken = (time.perf_counter() - start) / len(results)
                    found.append(document(results))
                    if at >= 0:
                        times[question][name].append(taken)
                assert all(each == found[0] for each in found), question
        opening = {
            name: [seconds(lambda each=each: Index.open(each)) for _ in range(options.repeats)]
            for name, each in paths.items()
        }
        times["opening, which checks that no image is in two"] = opening
    print(f"{options.images:,} images, medians of {options.repeats}, {torch.get_num_threads()} threads of PyTorch\n")
    rows = [
        [question, *(f"{1000 * statistics.median(each[name]):,.1f} ms" if name in each else "" for name in indices)]
        for question, each in times.items()
    ]
    print(table(["", *indices], rows))


if __name__ == "__main__":
    main()
