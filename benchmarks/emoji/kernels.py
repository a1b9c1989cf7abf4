"""Evaluation and search by plain PyTorch and by the compiled kernel: the speed, and whether rankings differ.

    python benchmarks/emoji/build.py
    python benchmarks/emoji/kernels.py [--queries 3208] [--shortlist 100|all] [--searches 50] [--runs 3]

This uses the emoji test half. The first part ranks images among themselves by their pooled vectors and re-ranks
shortlists, as `diml evaluate` does, from maps in memory. The second part searches an index, as `diml search` does, from
the maps of a query. Features and index are computed once and kept beside the data; delete `kernels.*` there to compute
them again. Runs of both backends alternate, and seconds are medians; run it on an otherwise idle machine.

Two rankings may differ where similarities differ by less than the tolerance. The table counts queries with another
first hit, with another order or another set of the ten best, and with another set. `worth` is the largest difference,
in float64 solved to 1e-6, between the similarities of two images at the same place of the two rankings.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from evaluate import DATA, halves
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from matching import features

from diml.data import Collection, open_dataset
from diml.evaluation import Shortlist, rank
from diml.feature_maps import FeatureMaps
from diml.matching import MARGINALS, Matcher
from diml.matching.speed import forced
from diml.model import StructuralModel
from diml.search import Index, SearchResult

FEATURES, INDEX = DATA.parent / "kernels.safetensors", DATA.parent / "kernels.diml"
KERNELS, PLACES = ("torch", "cpu"), 10
Result = TypeVar("Result")


def in_turn(work: Callable[[], Result], runs: int) -> tuple[list[float], list[Result]]:
    """Median seconds and the last result of each backend, after a warm-up run of each."""
    times: dict[str, list[float]] = {backend: [] for backend in KERNELS}
    results: dict[str, Result] = {}
    for run in range(runs + 1):
        for backend in KERNELS:
            with forced(backend):
                start = time.perf_counter()
                results[backend] = work()
                if run:
                    times[backend].append(time.perf_counter() - start)
    return [statistics.median(times[backend]) for backend in KERNELS], [results[backend] for backend in KERNELS]


def row(what: str, scheme: str, times: list[float], one: Tensor, other: Tensor, gap: float) -> str:
    """A line of the table, for rankings (q, 10) by the two backends."""
    slow, fast = times
    first = int((one[:, 0] != other[:, 0]).sum())
    order = int((one != other).any(dim=1).sum())
    members = int((one.sort(dim=1).values != other.sort(dim=1).values).any(dim=1).sum())
    numbers = f"{slow:.2f} | {fast:.2f} | {slow / fast:.1f} | {len(one)} | {first} | {order} | {members} | {gap:.0e}"
    return f"| {what} | {scheme} | {numbers} |"


def ranking(queries: FeatureMaps, gallery: FeatureMaps, scheme: str, shortlist: Shortlist) -> Tensor:
    """(q, 11) best images of each query, which may be among them."""
    ranked = rank(queries, gallery, matcher=Matcher(scheme), shortlists=[shortlist], places=PLACES + 1)
    return torch.cat([block.orders[shortlist] for block in ranked])


def without_itself(order: Tensor) -> Tensor:
    """(q, 10): without the query's own image, or without the last one if the query is not among them."""
    own = order == torch.arange(len(order))[:, None]
    own[:, -1] |= ~own.any(dim=1)
    return order[~own].reshape(len(order), -1)


def worth(maps: FeatureMaps, scheme: str, one: Tensor, other: Tensor) -> float:
    """The largest difference, in float64, between the similarities of the images at one place of two rankings."""
    query, place = (one != other).nonzero(as_tuple=True)
    if not len(query):
        return 0.0
    matcher, double = Matcher(scheme).tight(), maps.to(torch.float64)
    found = [matcher.pairs(double, double, query, order[query, place]).similarity for order in (one, other)]
    return float((found[0] - found[1]).abs().max())


def evaluations(maps: FeatureMaps, queries: int, shortlist: Shortlist, runs: int) -> None:
    for scheme in MARGINALS:
        times, found = in_turn(partial(ranking, maps[:queries], maps, scheme, shortlist), runs)
        one, other = (without_itself(order) for order in found)
        print(row(f"ranking, {shortlist}", scheme, times, one, other, worth(maps, scheme, one, other)), flush=True)


def hits(index: Index, queries: list[FeatureMaps], shortlist: Shortlist) -> list[SearchResult]:
    return [index.search(maps, PLACES + 1, shortlist) for maps in queries]


def searches(collection: Collection, queries: int, runs: int) -> None:
    """Search for images of the index, leaving the query itself out of the hits."""
    model = StructuralModel.from_pretrained("lite0").with_weights(None).with_matcher(transport="full", weight=0.5)
    # Images that are stored already are not embedded again; an index that an earlier run left unfinished is completed.
    (Index.open(INDEX) if INDEX.exists() else Index.create(INDEX, model, dim=128)).add(collection)
    at = range(0, len(collection), max(1, len(collection) // queries))[:queries]
    own = [collection.paths[i] for i in at]
    maps = [Index.open(INDEX).model.encode(collection.file(i)) for i in at]
    for shortlist in (100, "all"):
        for scheme in MARGINALS:
            index = Index.open(INDEX, model=model.with_matcher(marginals=scheme))
            times, found = in_turn(partial(hits, index, maps, shortlist), runs)
            kept = [
                [
                    [hit for hit in result if hit.path != path][:PLACES]
                    for path, result in zip(own, results, strict=True)
                ]
                for results in found
            ]
            numbers = {
                path: n for n, path in enumerate(sorted({hit.path for backend in kept for q in backend for hit in q}))
            }
            one, other = (torch.tensor([[numbers[hit.path] for hit in q] for q in backend]) for backend in kept)
            shown = [
                torch.tensor([[hit.similarity for hit in q] for q in backend], dtype=torch.float64) for backend in kept
            ]
            gap = float(((shown[0] - shown[1]).abs() * (one != other)).max())
            print(row(f"search, {shortlist}", scheme, times, one, other, gap), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=3208, help="queries of the ranking")
    parser.add_argument("--shortlist", default="100", help="shortlist of the ranking: a number, or all")
    parser.add_argument("--searches", type=int, default=50, help="queries of the index; 0 leaves the search out")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    shortlist: Shortlist = "all" if options.shortlist == "all" else int(options.shortlist)
    maps, _ = features(FEATURES)
    print(
        f"{len(maps)} images, 16 parts of 128 numbers, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    columns = (
        "what, shortlist",
        "marginals",
        "torch, s",
        "kernel, s",
        "ratio",
        "queries",
        "other first",
        "other order",
    )
    print("| " + " | ".join((*columns, "other ten", "worth")) + " |\n" + "|---" * 10 + "|")
    evaluations(maps, options.queries, shortlist, options.runs)
    if options.searches:
        searches(halves(open_dataset(str(DATA)), "test")[1], options.searches, options.runs)


if __name__ == "__main__":
    main()
