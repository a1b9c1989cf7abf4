"""What the blocks of a trained vision transformer give on the benchmark collections, beside lite0 and lite2.

    python -m benchmarks.transformers --data DATA [--half train|test] [--models lite0 lite2 dinov2:6 ... dinov2:11]

DATA is as for benchmarks.defaults.choose; `python -m benchmarks.dinov2.build` makes the weights. With the test half, a
head (and a rarity) is fitted on the training half; with the training half, on one part of its classes, and judged on
the other, and the other way round, so that no image of a test half is looked at. All values are Recall@1 / MAP@R in
percent, on shortlists of 100.

The first table has rows for every model: the pooled ranking, the default settings of untrained models, and with the
training half the best row of the model by the mean over the collections. Then a table for every model has its pooled
rows and the best others (--rows); with the test half, where choosing would not be measuring, those of the largest w.
Its columns are the directions of position that the head leaves out, the weights of parts, the transport, and w. Partial
transport, which is slow, is measured with uniform weights and norm*rarity alone, and with no directions left out. Maps
are kept in --cache and read from there the next time.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.defaults import tasks
from benchmarks.defaults.scores import Quality, Ranking
from benchmarks.defaults.tasks import NAMES, Fitted, fold
from benchmarks.dinov2.build import FILE
from benchmarks.transformers.maps import LASTS, Embedded, Settings, embedded
from diml.embedding import position_directions
from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.matching import Matcher

BLOCKS = range(6, 12)
MODELS = ("lite0", "lite2", *(f"dinov2:{block}" for block in BLOCKS))
WEIGHTS = ("uniform", "norm", "rarity", "norm*rarity", *(f"rollout:{last}" for last in LASTS))
TRANSPORTS: dict[str, dict[str, object]] = {
    "full": {},
    "partial 0.7": {"mass": 0.7},
    "one-sided": {"transport": "one-sided"},
}
SLOW, WITH_SLOW = "partial 0.7", ("uniform", "norm*rarity")
POOLED = "pooled"
# Directions left out, weights, transport, w.
Row = tuple[int, str, str, float]
PLAIN: Row = (0, "uniform", POOLED, 0.0)
DEFAULT: Row = (0, "norm*rarity", "one-sided", 0.85)
Table = dict[Row, dict[str, tuple[float, float]]]


class Weighted(Fitted):
    """A head without some directions of position, and weights of parts by rollout beside the others."""

    def __init__(self, embedded: Embedded, on: list[bool], without: int, noise: bool) -> None:
        tokens = embedded.noise[None] if noise else embedded.raw.maps.local[torch.tensor(on)].float()
        left_out = position_directions(tokens, without) if without else None
        super().__init__(embedded.raw, on, tasks.DIM, left_out)
        self.rollouts = embedded.rollouts

    def maps(self, at: torch.Tensor, weights: str) -> FeatureMaps:
        name, _, last = weights.partition(":")
        if name != "rollout":
            return super().maps(at, weights)
        return super().maps(at, "uniform").replace(weights=self.rollouts[int(last)][at])


def halves(embedded: Embedded, half: str) -> Iterator[tuple[list[bool], list[bool]]]:
    """Which images are fitted on, and which are judged."""
    train = embedded.raw.train
    if half == "test":
        yield train, [not each for each in train]
        return
    parts = [fold(label) for label in embedded.raw.labels]
    for part in (0, 1):
        yield (
            [each and at != part for each, at in zip(train, parts, strict=True)],
            [each and at == part for each, at in zip(train, parts, strict=True)],
        )


def measured(embedded: Embedded, options: argparse.Namespace) -> dict[Row, tuple[float, float]]:
    """Mean Recall@1 and MAP@R of a collection for every row."""
    found: dict[Row, list[Quality]] = {}
    for on, judged in halves(embedded, options.half):
        for without in options.position:
            fitted = Weighted(embedded, on, without, options.position_from == "noise")
            for weights in WEIGHTS:
                if weights.startswith("rollout") and not embedded.rollouts:
                    continue
                ranking = Ranking(fitted.task(judged, weights))
                found.setdefault((without, weights, POOLED, 0.0), []).append(ranking.quality())
                for transport, how in TRANSPORTS.items():
                    if transport == SLOW and (without or weights not in WITH_SLOW or not options.partial):
                        continue
                    scores = ranking.structural(Matcher(**how))  # type: ignore[arg-type]
                    for share in options.shares:
                        quality = ranking.quality(scores, share)
                        found.setdefault((without, weights, transport, share), []).append(quality)
    return {
        row: (_percent([each.recall for each in parts]), _percent([each.precision for each in parts]))
        for row, parts in found.items()
    }


def _percent(parts: list[np.ndarray]) -> float:
    return 100 * float(np.concatenate(parts).mean())


def mean(values: dict[str, tuple[float, float]]) -> tuple[float, float]:
    recall, precision = np.mean(list(values.values()), axis=0)
    return float(recall), float(precision)


def best(rows: Table) -> list[Row]:
    """By Recall@1 and MAP@R together, the best first."""
    return sorted(rows, key=lambda row: -sum(mean(rows[row])))


def cells(values: dict[str, tuple[float, float]]) -> list[str]:
    return [f"{recall:.1f} / {precision:.1f}" for recall, precision in (mean(values), *values.values())]


def words(row: Row) -> list[str]:
    without, weights, transport, share = row
    return [str(without), weights, transport, "-" if transport == POOLED else f"{share:g}"]


def print_tables(tables: dict[str, Table], options: argparse.Namespace) -> None:
    how, where = ["without", "weights", "transport", "w"], ["mean", *options.collections]
    summary = []
    for model, rows in tables.items():
        chosen = [PLAIN, DEFAULT, *(best(rows)[:1] if options.half == "train" else [])]
        summary += [[model, *words(row), *cells(rows[row])] for row in dict.fromkeys(chosen) if row in rows]
    print("\n" + table(["model", *how, *where], summary))
    for model, rows in tables.items():
        print(f"\n{model}:\n")
        print(table([*how, *where], [[*words(row), *cells(rows[row])] for row in shown(rows, options)]))


def shown(rows: Table, options: argparse.Namespace) -> list[Row]:
    """The pooled rows, and the best others; with the test half those of one w, so that none is chosen by its value."""
    ordered = best(rows)
    if options.half == "train":
        return [row for k, row in enumerate(ordered) if k < options.rows or row[2] == POOLED]
    return [row for row in rows if row[2] == POOLED or row[3] == max(options.shares)]


def write_rows(file: Path, tables: dict[str, Table]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["model", "without", "weights", "transport", "w", "collection", "recall@1", "map@r"])
        for model, rows in tables.items():
            for row, values in rows.items():
                writer.writerows([[model, *row, name, *found] for name, found in values.items()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collections", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--half", choices=["train", "test"], default="train")
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--weights", type=Path, help="of the DINOv2-S/14; by default as benchmarks.dinov2.build writes")
    parser.add_argument("--size", type=int, default=224, help="height and width of its input, a multiple of 14")
    parser.add_argument("--norm", action="store_true", help="apply its final norm to its blocks")
    parser.add_argument("--bf16", action="store_true", help="embed by it in bfloat16, in a third of the time")
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--position", type=int, nargs="+", default=[0, 8], help="directions of position to leave out")
    parser.add_argument("--position-from", choices=["noise", "sample"], default="noise", help="where they are measured")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.85], help="w")
    parser.add_argument("--partial", action=argparse.BooleanOptionalAction, default=True, help="partial transport too")
    parser.add_argument("--classes", type=int, default=0, help="only so many classes of each half, to try it")
    parser.add_argument("--rows", type=int, default=12, help="the best so many rows of a model, and all pooled ones")
    parser.add_argument("--out", type=Path, help="a CSV for all rows")
    options = parser.parse_args()
    for model in options.models:
        name, _, block = model.partition(":")
        if name == "dinov2" and (not block.isdecimal() or not max(LASTS) - 1 <= int(block) <= 11):
            parser.error(f"expected dinov2:{max(LASTS) - 1} to dinov2:11, got {model}")
    weights = options.weights or Path(__file__).resolve().parents[1] / "dinov2" / "data" / FILE
    if not weights.is_file() and any(model.startswith("dinov2") for model in options.models):
        sys.exit(f"error: {weights}: no such file; run python -m benchmarks.dinov2.build")
    cache = options.cache or options.data / "maps"
    ways = options.size, options.norm, options.bf16, options.classes
    settings = Settings(options.data, cache, options.grid, weights, *ways)
    tables: dict[str, Table] = {model: {} for model in options.models}
    for name in options.collections:
        for model, found in embedded(name, options.models, settings):
            begun = time.monotonic()
            for row, values in measured(found, options).items():
                tables[model].setdefault(row, {})[name] = values
            print(f"<!-- {name}, {model}: judged in {time.monotonic() - begun:.0f} s -->", flush=True)
    if options.out is not None:
        write_rows(options.out, tables)
    print_tables(tables, options)


if __name__ == "__main__":
    main()
