"""Plans of numbers that are shown, float64 at 1e-6: by Sinkhorn's iterations alone, and with Newton's steps after 20.

    python benchmarks/emoji/build.py
    python benchmarks/solving.py [--queries 20] [--hits 11] [--runs 3]

Each query of the emoji test half with its nearest by the pooled vectors, the query itself among them, as a search
solves its hits. Prints a Markdown table: milliseconds a query (medians, the two taking turns), iterations (median and
largest of a pair), and the pairs that 10,000 of them did not solve; `mass` is the share that is moved. `apart` is the
largest L1 distance of a plan to the one solved to 1e-12 by the other way, where both are within their tolerance. Run it
on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matching import features

from diml.matching import MARGINALS, TransportPlan, partial_plan, prepare, transport_plan

# What benchmarks/emoji/kernels.py keeps too.
FEATURES = Path(__file__).resolve().parent / "emoji" / "data" / "kernels.safetensors"
LIMIT = 10_000
WAYS = {"Sinkhorn alone": None, "with Newton": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--hits", type=int, default=11)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    maps, _ = features(FEATURES)
    rows = prepare(maps.to(torch.float64)).rows
    queries = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: options.queries]
    nearest = (rows[queries, -1] @ rows[:, -1].mT).topk(options.hits, dim=1).indices
    print(
        f"{options.queries} queries, {options.hits} images each, 16 parts of 128 numbers, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print("| marginals | eps | mass | way | ms a query | iterations, median | largest | unsolved | apart |")
    print("|" + "---|" * 9)
    for scheme, eps, mass in itertools.product(MARGINALS, (0.05, 0.01), (1.0, 0.7)):
        problems = []
        for query, images in zip(queries, nearest, strict=True):
            products = rows[query][None].expand(len(images), -1, -1) @ rows[images].mT
            weights = MARGINALS[scheme](products[:, :-1, -1]), MARGINALS[scheme](products[:, -1, :-1])
            problems.append((products[:, :-1, :-1], *weights, *((mass,) if mass < 1 else ()), eps))
        compare(problems, partial_plan if mass < 1 else transport_plan, options.runs, f"{scheme} | {eps} | {mass}")


def compare(problems: list[tuple[Any, ...]], plan: Callable[..., TransportPlan], runs: int, what: str) -> None:
    """A line of the table for each way."""
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    found: dict[str, list[TransportPlan]] = {}
    for run in range(runs + 1):
        for way, after in WAYS.items():
            start = time.perf_counter()
            found[way] = [plan(*problem, 1e-6, LIMIT, newton_after=after) for problem in problems]
            if run:
                times[way].append(time.perf_counter() - start)
    for way, other in zip(WAYS, reversed(WAYS), strict=True):
        exact = [plan(*problem, 1e-12, LIMIT, newton_after=WAYS[other]) for problem in problems]
        here, there, taken = (
            torch.cat([one.converged for one in found[way]]),
            torch.cat([one.converged for one in exact]),
            torch.cat([one.iterations for one in found[way]]),
        )
        pairs = zip(found[way], exact, strict=True)
        apart = torch.cat([(a.plan - b.plan).abs().sum(dim=(1, 2)) for a, b in pairs])[here & there].max()
        print(
            f"| {what} | {way} | {1000 * statistics.median(times[way]) / len(problems):.1f} | {int(taken.median())} | "
            f"{int(taken.max())} | {int((~here).sum())} of {len(here)} | {float(apart):.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
