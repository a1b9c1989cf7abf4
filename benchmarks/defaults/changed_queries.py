"""Queries that were changed: clean, occluded, cropped, shifted and blurred, re-ranked with and without weights.

    python -m benchmarks.clutter.variants DATA/clutter-emoji
    python -m benchmarks.defaults.changed_queries --data DATA [--weights norm*rarity] [--transport one-sided]

DATA is as for benchmarks.defaults.choose; the first command is run for both collections with clutter. The question of
DeepFace-EMD: does re-ranking by parts hold up where the query is not like the gallery? Heads and rarities are fitted on
the training halves, whose images are as they are. Prints Recall@1 / MAP@R in percent on the test halves.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

from benchmarks.clutter.variants import VARIANTS
from benchmarks.defaults.choose import TRANSPORTS
from benchmarks.defaults.compare import percent
from benchmarks.defaults.scores import Ranking
from benchmarks.defaults.tasks import Fitted, Task, embedded, raw_maps
from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.matching import Matcher

CLUTTER = ("clutter-emoji", "clutter-furniture")


def queries_of(folder: Path, cache: Path, name: str, kind: str, grid: int) -> tuple[FeatureMaps, list[str]]:
    with open(folder / name / f"{kind}.csv", encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "query"]
    files = [folder / name / row["path"] for row in rows]
    local = embedded(files, cache / f"{name}-{kind}-{grid}.pt", grid)
    return FeatureMaps(local, (grid, grid)), [row["label"] for row in rows]


def cells(fitted: Fitted, changed: tuple[FeatureMaps, list[str]], asked: str, matcher: Matcher) -> list[str]:
    """Pooled and re-ranked, without weights and as asked."""
    test = [not train for train in fitted.raw.train]
    found = []
    for weights in ("uniform", asked):
        task = fitted.task(test, weights)
        queries = fitted.weighted(changed[0], weights)
        ranking = Ranking(Task(queries, changed[1], task.gallery, task.gallery_labels, same=False))
        found.append(percent(ranking.quality()))
        if weights == "uniform":
            found.append(percent(ranking.quality(ranking.structural(Matcher()), 0.5)))
    found.append(percent(ranking.quality(ranking.structural(matcher), matcher.weight)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--weights", default="norm*rarity")
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="one-sided")
    parser.add_argument("--share", type=float, default=0.85, help="w, the share of the structural similarity")
    options = parser.parse_args()
    how: dict[str, Any] = {"weight": options.share, **TRANSPORTS[options.transport]}
    cache = options.cache or options.data / "maps"
    rows = []
    for name in CLUTTER:
        raw = raw_maps(name, options.data, cache, options.grid)
        fitted = Fitted(raw, raw.train)
        for kind in VARIANTS:
            changed = queries_of(options.data, cache, name, kind, options.grid)
            rows.append([name, kind, *cells(fitted, changed, options.weights, Matcher(**how))])
            print(rows[-1], flush=True)
    heads = ["pooled, uniform", "re-ranked, uniform, full, w 0.5", f"pooled, {options.weights}", "re-ranked, as asked"]
    print(f"\nAs asked: {options.weights}, {options.transport}, w {options.share:g}. Recall@1 / MAP@R.\n")
    print(table(["collection", "queries", *heads], rows, left=2))


if __name__ == "__main__":
    main()
