"""Plans of numbers that are shown, float64 at 1e-6: by Sinkhorn's iterations alone, and with Newton's steps after 20.

    python benchmarks/emoji/build.py
    python benchmarks/solving.py [--queries 40] [--hits 11] [--runs 5]

Each query of the emoji test half with its nearest by the pooled vectors, the query itself among them, as a search
solves its hits. Prints a Markdown table: milliseconds a query (medians, the two taking turns), iterations (median and
largest of a pair), and the pairs that 10,000 of them did not solve. `apart` is the largest L1 distance of a plan to the
one solved to 1e-12 by the other way, where both are within their tolerance. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from matching import features

from diml.matching import MARGINALS, TransportPlan, prepare, transport_plan

# What benchmarks/emoji/kernels.py keeps too.
FEATURES = Path(__file__).resolve().parent / "emoji" / "data" / "kernels.safetensors"
LIMIT = 10_000
WAYS = {"Sinkhorn alone": None, "with Newton": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--hits", type=int, default=11)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    maps, _ = features(FEATURES)
    rows = prepare(maps.to(torch.float64)).rows
    queries = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[: options.queries]
    nearest = (rows[queries, -1] @ rows[:, -1].mT).topk(options.hits, dim=1).indices
    print(
        f"{options.queries} queries, {options.hits} images each, 16 parts of 128 numbers, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print("| marginals | eps | way | ms a query | iterations, median | largest | unsolved | apart |")
    print("|" + "---|" * 8)
    for scheme, weigh in MARGINALS.items():
        for eps in (0.05, 0.01):
            problems = []
            for query, images in zip(queries, nearest, strict=True):
                products = rows[query][None].expand(len(images), -1, -1) @ rows[images].mT
                problems.append((products[:, :-1, :-1], weigh(products[:, :-1, -1]), weigh(products[:, -1, :-1]), eps))
            times: dict[str, list[float]] = {way: [] for way in WAYS}
            found: dict[str, list[TransportPlan]] = {}
            for run in range(options.runs + 1):
                for way, after in WAYS.items():
                    start = time.perf_counter()
                    found[way] = [transport_plan(*problem, 1e-6, LIMIT, newton_after=after) for problem in problems]
                    if run:
                        times[way].append(time.perf_counter() - start)
            for way, other in zip(WAYS, reversed(WAYS), strict=True):
                exact = [transport_plan(*problem, 1e-12, LIMIT, newton_after=WAYS[other]) for problem in problems]
                here, there, taken = (
                    torch.cat([plan.converged for plan in found[way]]),
                    torch.cat([plan.converged for plan in exact]),
                    torch.cat([plan.iterations for plan in found[way]]),
                )
                pairs = zip(found[way], exact, strict=True)
                apart = torch.cat([(a.plan - b.plan).abs().sum(dim=(1, 2)) for a, b in pairs])[here & there].max()
                milliseconds = 1000 * statistics.median(times[way]) / options.queries
                print(
                    f"| {scheme} | {eps} | {way} | {milliseconds:.1f} | {int(taken.median())} | {int(taken.max())} | "
                    f"{int((~here).sum())} of {len(here)} | {float(apart):.0e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
