"""What an index of N images costs: time to store, build, open, search, add and delete; disk and memory.

    python -m benchmarks.scale --images 10000 [--codes pq64] [--sketches] [--into scale.jsonl]
    python -m benchmarks.scale --table scale.jsonl --picture docs/scale.png

No data set is needed: the maps of the N images are made of those of the sample's drawings (see scale_maps.py), so that
nothing is embedded, and the images are more alike than those of a real collection. Thumbnails are left out. Searches
are for 10 hits on a shortlist of 100, by maps that were made the same way; recall@10, of that and of wider ones, is
against `--shortlist all`. With `--sketches` some of the queries are asked by `--shortlist proven` too. The first
searches are cold: the index was opened by a new process, and its files are not in memory (where that can be had: it
takes root on Linux). Prints, and appends to a file, one line of JSON; `--table` prints such lines as a table and
draws how costs grow.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import diml
from benchmarks.scale_maps import mixed, put, real_maps
from benchmarks.scale_tables import draw, printed
from diml.feature_maps import FeatureMaps
from diml.search.hits import SearchResult
from diml.search.limits import SearchShortlist
from diml.search.places import sizes

QUERIES, COLD, CHANGED = 200, 5, 1000
# Small commits that are compacted, and the images of each.
COMMITS, FEW = 32, 100
K = 10
# The wider shortlists whose recall is given.
WIDER = (1000, 10_000)
# Exhaustive searches of a single query, which are timed; recall is by the answers of all queries together.
SINGLE = 10


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def peak_mb() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def cool() -> bool:
    """Drop files from the memory of the system; whether that is possible."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True


def built(folder: Path, images: int, codes: str, sketches: bool) -> dict[str, Any]:
    """Make the index; in a process of its own, whose peak memory is that of indexing."""
    with tempfile.TemporaryDirectory() as place:
        real = real_maps(Path(place))
    torch.save(real.local, folder / "real.pt")
    torch.save(real.weights_or_uniform, folder / "weights.pt")
    model = diml.StructuralModel.from_pretrained("lite0")
    index = diml.Index.create(folder / "i.diml", codes=codes, thumbnails=False, sketches=sketches)
    first = mixed(real, 512, torch.Generator().manual_seed(1))
    index.add_maps(first, paths=[f"first/{k}" for k in range(len(first))])
    state = index._state.for_writing()
    store = state.require().store
    seconds, _ = timed(lambda: list(put(store, real, images - len(first))))
    building, _ = timed(lambda: state.finish(images))
    matcher = model.matcher
    del model
    return {
        "rows_per_second": images / seconds,
        "build_s": building,
        "index_mb": peak_mb(),
        "graph": store.has_graph(),
        "matcher": {"transport": matcher.transport, "weight": matcher.weight},
    }


def median(seconds: Sequence[float], scale: float = 1) -> float | None:
    """Times `scale`; None without any."""
    return scale * statistics.median(seconds) if seconds else None


def recall(found: Sequence[SearchResult], best: Sequence[SearchResult]) -> float | None:
    """The share of the best hits of each query that are among those found; None without queries."""
    shares = [
        len({hit.id for hit in hits} & {hit.id for hit in exact}) / K for hits, exact in zip(found, best, strict=False)
    ]
    return statistics.mean(shares) if shares else None


def searched(folder: Path, matcher: dict[str, Any], exact: int, sketches: bool) -> dict[str, Any]:
    """Open and search it, in a process of its own."""
    real = FeatureMaps(torch.load(folder / "real.pt"), (4, 4), weights=torch.load(folder / "weights.pt"))
    queries = mixed(real, QUERIES + COLD, torch.Generator().manual_seed(2)).replace(geometry=None)
    opening, index = timed(lambda: diml.Index.open(folder / "i.diml").with_matcher(**matcher))
    cold = [timed(lambda q=q: index.search(q, k=K))[0] for q in (queries[k] for k in range(COLD))]

    def asked(count: int, shortlist: SearchShortlist) -> tuple[list[float], list[SearchResult]]:
        """The seconds and the answers of so many queries."""
        timings = [timed(lambda k=k: index.search(queries[COLD + k], k=K, shortlist=shortlist)) for k in range(count)]
        return [seconds for seconds, _ in timings], [result for _, result in timings]

    warm, first = asked(QUERIES, 100)
    memory = peak_mb()
    wider = {shortlist: asked(exact, shortlist) for shortlist in WIDER}
    every_s, _ = asked(min(exact, SINGLE), "all")
    together_s, every = timed(lambda: index.search_many(queries[COLD : COLD + exact], k=K, shortlist="all"))
    proven_s, proven = asked(min(exact, SINGLE) if sketches else 0, "proven")
    for hits, best in zip(proven, every, strict=False):
        assert [hit.to_dict() for hit in hits] == [hit.to_dict() for hit in best]
    read = [(result.maps_read or 0) / len(index) for result in proven]
    p50, p95, p99 = np.percentile(warm, [50, 95, 99])
    return {
        "open_s": opening,
        "cold_ms": 1000 * cold[0],
        "cold_rest_ms": 1000 * statistics.median(cold[1:]),
        "p50_ms": 1000 * p50,
        "p95_ms": 1000 * p95,
        "p99_ms": 1000 * p99,
        "search_mb": memory,
        "all_s": median(every_s),
        "all_together_s": together_s / exact if exact else None,
        "proven_s": median(proven_s),
        "proven_read": statistics.mean(read) if read else None,
        "recall@10": recall(first, every),
        **{f"p50_ms of {wide}": median(seconds, 1000) for wide, (seconds, _) in wider.items()},
        **{f"recall@10 of {wide}": recall(found, every) for wide, (_, found) in wider.items()},
        "exact_queries": exact,
    }


def changed(folder: Path, matcher: dict[str, Any]) -> dict[str, Any]:
    """Add to it, delete from it, and compact it while it is searched."""
    real = FeatureMaps(torch.load(folder / "real.pt"), (4, 4), weights=torch.load(folder / "weights.pt"))
    more = mixed(real, CHANGED, torch.Generator().manual_seed(3))
    index = diml.Index.open(folder / "i.diml").with_matcher(**matcher)
    paths = [f"more/{k}" for k in range(CHANGED)]
    adding, _ = timed(lambda: index.add_maps(more, paths=paths))
    removing, _ = timed(lambda: index.remove(paths))
    waits, wrong, done = [], 0, threading.Event()
    query = mixed(real, 1, torch.Generator().manual_seed(4)).replace(geometry=None)

    def search() -> None:
        nonlocal wrong
        while not done.is_set():
            seconds, result = timed(lambda: index.search(query, k=K))
            waits.append(seconds)
            wrong += [hit.id for hit in result] != before

    store = index._state.for_writing().require().store
    list(put(store, real, COMMITS * FEW, seed=5, first=10**9, chunk=FEW))
    before = [hit.id for hit in index.search(query, k=K)]
    thread = threading.Thread(target=search)
    thread.start()
    with index._state.for_writing().locked():
        compacting, _ = timed(store._optimize)
    done.set()
    thread.join()
    return {
        "add_1000_s": adding,
        "delete_1000_s": removing,
        "compact_s": compacting,
        "compacting_p95_ms": 1000 * float(np.percentile(waits, 95)),
        "compacting_searches": len(waits),
        "compacting_wrong": wrong,
        "change_mb": peak_mb(),
    }


def alone(action: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """The result of a function in a new process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result: dict[str, Any] = pool.apply(action, arguments)
        return result


def measured(images: int, codes: str, sketches: bool, exact: int, place: Path | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        made = alone(built, folder, images, codes, sketches)
        matcher = made.pop("matcher")
        disk = sum(sizes(folder / "i.diml").values())
        is_cold = cool()
        return {
            "images": images,
            "codes": codes,
            "sketches": sketches,
            **made,
            "disk_gb": disk / 1e9,
            "is_cold": is_cold,
            **alone(searched, folder, matcher, exact, sketches),
            **alone(changed, folder, matcher),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[])
    parser.add_argument("--codes", nargs="+", default=["float16"])
    parser.add_argument("--sketches", action="store_true", help="store sketches, and search by --shortlist proven too")
    parser.add_argument("--exact", type=int, default=100, help="queries that are also matched with every image")
    parser.add_argument("--place", type=Path, help="where the index is made for the time of the run")
    parser.add_argument("--into", type=Path, help="append the numbers to this file")
    parser.add_argument("--table", type=Path, help="print the numbers of this file as a table")
    parser.add_argument("--picture", type=Path, help="and draw them")
    options = parser.parse_args()
    for images in options.images:
        for codes in options.codes:
            line = json.dumps(measured(images, codes, options.sketches, options.exact, options.place))
            print(line, flush=True)
            if options.into is not None:
                with options.into.open("a") as file:
                    file.write(line + "\n")
    if options.table is not None:
        rows = [json.loads(line) for line in options.table.read_text().splitlines()]
        print(printed(rows))
        if options.picture is not None:
            draw(rows, options.picture)


if __name__ == "__main__":
    main()
