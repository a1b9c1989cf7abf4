"""Matching on the CPU, as ratios of what is measured in one run, on real features of the emoji test half.

    python benchmarks/emoji/build.py
    python benchmarks/matching.py [--features FILE] [--queries 1600] [--runs 5] [--only speeds plans memory compilation]
    python benchmarks/matching.py --recall [--features FILE]

The first prints speeds as a Markdown table, the second what a shortlist costs in recall. Features are computed once,
4x4 parts of 128 numbers by a head fitted on the train half, and kept in FILE if one is given. Run it on an otherwise
idle machine: every ratio is the median over runs that take turns, but a busy core slows down threads that wait for one
another far more than others.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent / "emoji"))

from diml.data import open_dataset
from diml.evaluation import Shortlist, evaluate_maps
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, prepare, rerank, top_k
from diml.matching.kernels import BackendSettings, cpu_scores
from diml.matching.speed import forced
from diml.model import StructuralModel

EPS, SHORTLIST, BATCH, SCHEMES = 0.05, 100, 112, ("uniform", "cross_correlation")
Work = Callable[[], object]


def features(kept: Path | None) -> tuple[FeatureMaps, list[int]]:
    """float16 maps of the test half at 4x4 x 128, and their classes."""
    if kept is None or not kept.exists():
        from evaluate import DATA, embedded, halves, on_grid

        from diml.embedding import fit_whitening

        model = StructuralModel.from_pretrained("lite0").with_weights(None).with_grid((7, 7))
        fitted_on, evaluated = halves(open_dataset(str(DATA)), "test")
        head = fit_whitening(embedded(model.with_grid((1, 1)), fitted_on).mean, 128)
        maps = on_grid(embedded(model, evaluated), 4, head)
        names = sorted(set(evaluated.known_labels))
        found = {
            "local": maps.local,
            "labels": torch.tensor([names.index(label) for label in evaluated.known_labels]),
        }
        if kept is not None:
            save_file(found, kept)
    else:
        found = load_file(kept)
    return FeatureMaps(found["local"], (4, 4)), found["labels"].tolist()


def published(query: Tensor, candidates: Tensor, scheme: str, limit: int = 100, change: float = 0.1) -> Tensor:
    """Structural similarity of one query's parts (r, d) with those of its candidates (k, r, d), batch-wide stop.

    Written from the description of Zhao et al. 2021: all candidates at a time, Sinkhorn until the mean change of the
    scaling over the whole batch is under 0.1, at most 100 iterations. Products with the kernel are sums of elements:
    `torch.matmul` and `torch.einsum` took 1.5 times as long for matrices as small as these.
    """
    a, b = (torch.nn.functional.normalize(x.float(), dim=-1) for x in (query, candidates))
    similarity = torch.einsum("id,kjd->kij", a, b)
    if scheme == "uniform":
        mu = torch.full((len(b), a.shape[0]), 1 / a.shape[0])
        nu = torch.full((len(b), b.shape[1]), 1 / b.shape[1])
    else:
        pooled_a, pooled_b = (torch.nn.functional.normalize(x.float().mean(-2), dim=-1) for x in (query, candidates))
        mu = torch.einsum("id,kd->ki", a, pooled_b).relu() + 1e-5
        nu = torch.einsum("kjd,d->kj", b, pooled_a).relu() + 1e-5
        mu, nu = mu / mu.sum(1, keepdim=True), nu / nu.sum(1, keepdim=True)
    kernel = torch.exp(-(1 - similarity) / EPS)
    u, v = torch.ones_like(mu), torch.ones_like(nu)
    for _ in range(limit):
        before = u
        u = mu / (kernel * v[:, None, :]).sum(2)
        v = nu / (kernel * u[:, :, None]).sum(1)
        if (u - before).abs().mean().item() < change:
            break
    return (u[..., None] * kernel * v[:, None] * similarity).sum((1, 2))


def floor(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """One float32 matrix product that computes the local similarities."""
    return torch.mm(a, b.mT, out=out)


def pot(kernel: Tensor, mu: Tensor, nu: Tensor) -> Tensor:
    """POT's batch solver, 512 problems at a time, to 1e-3 in its own norm (L2, at most our L1)."""
    from ot.batch import bregman_projection_batch

    pieces = zip(*(torch.split(x, 512) for x in (kernel, mu, nu)), strict=True)
    solved = [bregman_projection_batch(k, m, n, max_iter=1000, tol=1e-3)["T"] for k, m, n in pieces]
    return torch.cat(solved)


def alone(work: Work) -> object:
    """On one thread, which on a busy machine is faster for many small operations."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work()
    finally:
        torch.set_num_threads(threads)


def in_turn(works: Mapping[str, Work], runs: int) -> dict[str, float]:
    """Median seconds of each, the runs taking turns, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for run in range(runs + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if run:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(taken) for name, taken in times.items()}


def speeds(maps: FeatureMaps, scheme: str, queries: int, runs: int) -> None:
    query_maps, rows = maps[:queries], prepare(maps).rows
    pooled = rows[:queries, -1] @ rows[:, -1].mT
    pooled[torch.arange(queries), torch.arange(queries)] = -torch.inf
    shortlist = pooled.topk(SHORTLIST).indices
    some = shortlist[: max(1, queries // 20)]  # for what is slow
    i, j = torch.arange(queries).repeat_interleave(SHORTLIST), shortlist.reshape(-1)
    settings = BackendSettings(scheme, EPS)
    matcher = Matcher(scheme, eps=EPS)
    parts = [rows[:n, :-1].reshape(-1, rows.shape[2]).contiguous() for n in (32, len(rows))]
    product = torch.empty(len(parts[0]), len(parts[1]))
    few = slice(0, len(some) * SHORTLIST)
    similarity = rows[i[few], :-1] @ rows[j[few], :-1].mT
    uniform = torch.full((len(similarity), 16), 1 / 16)
    works: dict[str, tuple[int, Work]] = {
        "published way": (
            some.numel(),
            lambda: [published(maps.local[q], maps.local[k], scheme) for q, k in enumerate(some)],
        ),
        "published way, 1 thread": (
            some.numel(),
            lambda: alone(lambda: [published(maps.local[q], maps.local[k], scheme) for q, k in enumerate(some)]),
        ),
        "kernel, shortlists of 100, from float16 maps": (
            shortlist.numel(),
            lambda: rerank(query_maps, maps, shortlist, marginals=scheme),
        ),
        "kernel, all pairs, from float16 maps": (
            queries * len(maps),
            lambda: [None for _ in matcher.tiles(query_maps, maps)],
        ),
        "one matrix product": (32 * len(maps), lambda: floor(parts[0], parts[1], product)),
        "bounds alone (everything but Sinkhorn)": (
            len(i),
            lambda: cpu_scores.bound_pairs(rows, rows, i, j, settings),
        ),
        "kernel from unit rows": (len(i), lambda: cpu_scores.score_pairs(rows, rows, i, j, settings)),
        "10 best of the shortlist, by bounds": (
            shortlist.numel(),
            lambda: top_k(matcher, query_maps, maps, 10, shortlist),
        ),
        "10 best of all, by bounds": (queries * len(maps), lambda: top_k(matcher, query_maps, maps, 10)),
    }
    if scheme == "uniform":
        exponent = (similarity - similarity.amax((1, 2), keepdim=True)) / EPS
        works["POT, Sinkhorn alone"] = len(similarity), lambda: pot(exponent.exp(), uniform, uniform)
        works["POT, Sinkhorn alone, 1 thread"] = (
            len(similarity),
            lambda: alone(lambda: pot(exponent.exp(), uniform, uniform)),
        )
    taken = in_turn({name: work for name, (_, work) in works.items()}, runs)
    pairs = {name: count for name, (count, _) in works.items()}
    each = {name: seconds / pairs[name] for name, seconds in taken.items()}
    floor_, old = each["one matrix product"], min(each["published way"], each["published way, 1 thread"])
    print(f"\n{scheme} marginals\n\n| what | pairs a second | x published | time / matrix product |\n|---|---|---|---|")
    for name, seconds in each.items():
        print(f"| {name} | {1 / seconds:,.0f} | {old / seconds:.1f} | {seconds / floor_:.1f} |")
    if scheme == "uniform":
        own = each["kernel from unit rows"] - each["bounds alone (everything but Sinkhorn)"]
        theirs = min(each["POT, Sinkhorn alone"], each["POT, Sinkhorn alone, 1 thread"])
        print(f"\nSinkhorn alone: {theirs / own:.1f} x POT ({1 / own:,.0f} pairs a second)")
    agreement(maps, some, scheme)


def plans(maps: FeatureMaps, runs: int) -> None:
    """What a loss asks of a batch: all unordered pairs, and two for each image."""
    batch = prepare(maps[torch.randperm(len(maps), generator=torch.Generator().manual_seed(0))[:BATCH]])
    flat = batch.rows.flatten(0, 1)
    products = (flat @ flat.mT).view(len(batch), batch.parts + 1, len(batch), batch.parts + 1)
    every = torch.triu_indices(len(batch), len(batch))
    few = torch.randint(len(batch), (2, 2 * len(batch)), generator=torch.Generator().manual_seed(1))
    print(f"\n| plans of a batch of {BATCH} | marginals | torch, ms | kernel, ms | kernel from products, ms | ratio |")
    print("|---|---|---|---|---|---|")
    for scheme in SCHEMES:
        matcher = Matcher(scheme, eps=EPS)
        for i, j in (every, few):
            taken = in_turn(
                {
                    "torch": partial(by_torch, partial(matcher.plans, batch, batch, i, j)),
                    "kernel": partial(matcher.plans, batch, batch, i, j),
                    "products": partial(matcher.plans_of, products, i, j),
                },
                runs,
            )
            slow, fast, faster = (1e3 * taken[name] for name in ("torch", "kernel", "products"))
            print(f"| {len(i):,} pairs | {scheme} | {slow:.1f} | {fast:.1f} | {faster:.1f} | {slow / fast:.1f} |")


def by_torch(work: Work) -> object:
    with forced("torch"):
        return work()


def agreement(maps: FeatureMaps, shortlist: Tensor, scheme: str) -> None:
    """Both run to convergence give the same ranking, up to the tolerance."""
    queries = maps[: len(shortlist)]
    old = torch.stack([published(maps.local[q], maps.local[k], scheme, 5000, 0.0) for q, k in enumerate(shortlist)])
    i, j = torch.arange(len(shortlist)).repeat_interleave(shortlist.shape[1]), shortlist.reshape(-1)
    tight = Matcher(scheme, weight=1.0, tolerance=1e-6).pairs(queries, maps, i, j)
    fast = rerank(queries, maps, shortlist, marginals=scheme, weight=1.0)
    double = rerank(
        queries.to(torch.float64), maps.to(torch.float64), shortlist, marginals=scheme, weight=1.0, tolerance=1e-8
    )
    apart = (double[:, :, None] - double[:, None, :]).abs() > 2e-3

    def swapped(other: Tensor) -> int:
        signs = (other[:, :, None] - other[:, None, :]).sign() != (double[:, :, None] - double[:, None, :]).sign()
        return int((signs & apart).sum())

    off, done = (tight.similarity - double.reshape(-1)).abs(), tight.converged
    print(
        f"\nlargest difference to float64: {(fast - double).abs().max():.1e} at tolerance 1e-3; at 1e-6 "
        f"{off[done].max():.1e}, and {off[~done].max():.1e} of the {100 * float((~done).float().mean()):.1f} % that "
        f"its 1000 iterations did not solve; published way at convergence {(old - double).abs().max():.1e}; "
        f"of {int(apart.sum()):,} ordered pairs of candidates more than 2e-3 apart, in another order than in float64: "
        f"kernel {swapped(fast)}, published way {swapped(old)}"
    )


def memory(images: int) -> float:
    """MB that a fresh process takes for matching all pairs of so many images, beyond the maps of 4096."""
    code = f"""
import resource, torch
from diml.matching import Matcher, UnitMaps
torch.manual_seed(0)
rows = torch.nn.functional.normalize(torch.randn(4096, 17, 128), dim=-1)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for tile in Matcher().tiles(UnitMaps(rows[:16]), UnitMaps(rows[:16].clone())): pass
before = peak()
for tile in Matcher().tiles(UnitMaps(rows[:{images}]), UnitMaps(rows[:{images}])): pass
print(peak() - before)
"""
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


def compilation() -> None:
    """The first call of a fresh process, without and with the compiled code on disk."""
    import os
    import tempfile

    code = """
import time, torch
from diml.matching import Matcher, UnitMaps
rows = UnitMaps(torch.nn.functional.normalize(torch.randn(16, 17, 128), dim=-1))
start = time.perf_counter()
Matcher().similarity(rows, rows)
print(time.perf_counter() - start)
"""
    with tempfile.TemporaryDirectory() as place:
        times = [
            float(
                subprocess.run(
                    [sys.executable, "-c", code],
                    env={**os.environ, "NUMBA_CACHE_DIR": place},
                    capture_output=True,
                    check=True,
                    text=True,
                ).stdout
            )
            for _ in range(3)
        ]
    print(f"\nfirst call ever {times[0]:.1f} s, in later processes {min(times[1:]):.2f} s")


SHORTLISTS: tuple[Shortlist, ...] = (0, 10, 50, 100, 500, "all")


def recall(maps: FeatureMaps, labels: list[int]) -> None:
    """What a shortlist costs: from the pooled ranking to every pair matched."""
    columns = ("recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r")
    print("| marginals | shortlist | " + " | ".join(columns) + " | s |\n|---|---|" + "---|" * (len(columns) + 1))
    for scheme in SCHEMES:
        for shortlist in SHORTLISTS:
            start = time.perf_counter()
            result = evaluate_maps(maps, labels, matcher=Matcher(scheme), shortlists=[shortlist])
            took = time.perf_counter() - start
            values = " | ".join(f"{100 * result.results[0][name]:.2f}" for name in columns)
            print(f"| {scheme} | {shortlist} | {values} | {took:.1f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, help="a .safetensors file to keep the features in")
    parser.add_argument("--queries", type=int, default=1600)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--recall", action="store_true")
    parser.add_argument("--only", choices=("speeds", "plans", "memory", "compilation"), nargs="+", help="of the tables")
    options = parser.parse_args()
    tables = options.only or ("speeds", "plans", "memory", "compilation")
    maps, labels = features(options.features)
    if options.recall:
        recall(maps, labels)
        return
    print(f"{len(maps)} images, 16 parts of 128 numbers, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for scheme in SCHEMES if "speeds" in tables else ():
        speeds(maps, scheme, options.queries, options.runs)
    if "plans" in tables:
        plans(maps, options.runs)
    if "memory" in tables:
        taken = ", ".join(f"{memory(images):.0f} MB for {images**2 / 1e6:.2f} M" for images in (512, 1024, 4096))
        print(f"\nmemory of matching all pairs beyond the maps: {taken}")
    if "compilation" in tables:
        compilation()


if __name__ == "__main__":
    main()
