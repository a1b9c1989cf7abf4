"""Choose the default part weights and transport, on the training halves of all benchmark collections together.

    python -m benchmarks.defaults.choose --data DATA

DATA holds the folders emoji, clutter-emoji, furniture and clutter-furniture, each with the data.csv that its benchmark
builds. The classes of each training half are cut in two: a head (and a rarity) is fitted on one part and judged on the
other, and the other way round. Prints a row for every setting: its mean over the collections, first of Recall@1 and
then of MAP@R, and both for every collection, in percent, for shortlists of 100. No image of a test half is looked at.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.defaults.scores import Quality, Ranking
from benchmarks.defaults.tasks import NAMES, Fitted, fold, raw_maps
from diml.matching import Matcher

# Of rarity with its default temperature, and with twice that.
WEIGHTS = (
    "uniform",
    "norm",
    "norm2",
    *(f"{name}{t}" for t in ("", " t=0.1") for name in ("rarity", "norm*rarity", "norm2*rarity")),
)
TRANSPORTS: dict[str, dict[str, object]] = {
    "full": {},
    "partial 0.7": {"mass": 0.7},
    "one-sided": {"transport": "one-sided"},
    "dustbin 0.1": {"transport": "dustbin", "bin_similarity": 0.1},
    "dustbin 0.2": {"transport": "dustbin", "bin_similarity": 0.2},
    "dustbin 0.3": {"transport": "dustbin", "bin_similarity": 0.3},
    "dustbin 0.4": {"transport": "dustbin", "bin_similarity": 0.4},
}
# A partial transport runs in the reference alone: only where all else is at its default.
SLOW = "partial 0.7"
MARGINALS = ("uniform", "cross_correlation")
EPS = (0.02, 0.05, 0.1)
SHARES = (0.3, 0.5, 0.7, 0.85, 1.0)
Row = tuple[str, str, str, float, float]


def settings() -> Iterator[tuple[str, str, float]]:
    """Transport, marginals and eps."""
    for transport, marginals, eps in itertools.product(TRANSPORTS, MARGINALS, EPS):
        if transport != SLOW or (marginals, eps) == ("uniform", 0.05):
            yield transport, marginals, eps


def measured(folder: Path, cache: Path, grid: int) -> dict[Row, dict[str, list[Quality]]]:
    """For every setting, the qualities by collection, one for each of the two parts of its training half."""
    found: dict[Row, dict[str, list[Quality]]] = {}

    def note(row: Row, name: str, quality: Quality) -> None:
        found.setdefault(row, {}).setdefault(name, []).append(quality)

    for name in NAMES:
        raw = raw_maps(name, folder, cache, grid)
        for part in (0, 1):
            places = [fold(label) for label in raw.labels]
            fitted = Fitted(raw, [train and at != part for train, at in zip(raw.train, places, strict=True)])
            judged = [train and at == part for train, at in zip(raw.train, places, strict=True)]
            for weights in WEIGHTS:
                ranking = Ranking(fitted.task(judged, weights))
                note((weights, "pooled only", "-", 0.0, 0.0), name, ranking.quality())
                for transport, marginals, eps in settings():
                    scores = ranking.structural(Matcher(marginals, eps=eps, **TRANSPORTS[transport]))  # type: ignore[arg-type]
                    for share in SHARES:
                        quality = ranking.quality(scores, share)
                        note((weights, transport, marginals, eps, share), name, quality)
    return found


def means(by_part: list[Quality]) -> tuple[float, float]:
    return tuple(  # type: ignore[return-value]
        100 * float(np.concatenate([getattr(quality, what) for quality in by_part]).mean())
        for what in ("recall", "precision")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--rows", type=int, default=40, help="the best so many rows, and all pooled ones")
    options = parser.parse_args()
    table = {
        row: {name: means(parts) for name, parts in by_name.items()}
        for row, by_name in measured(options.data, options.cache or options.data / "maps", options.grid).items()
    }
    mean = {row: np.mean([values[name] for name in NAMES], axis=0) for row, values in table.items()}
    ordered = sorted(table, key=lambda row: -float(mean[row].sum()))
    shown = [row for k, row in enumerate(ordered) if k < options.rows or row[1] == "pooled only" or default(row)]
    print("| weights | transport | marginals | eps | w | mean | " + " | ".join(NAMES) + " |")
    print("|---|---|---|---|---|---|" + "---|" * len(NAMES))
    for row in shown:
        cells = [
            f"{recall:.1f} / {precision:.1f}" for recall, precision in (mean[row], *(table[row][n] for n in NAMES))
        ]
        print("| " + " | ".join([*(f"{each:g}" if isinstance(each, float) else each for each in row), *cells]) + " |")


def default(row: Row) -> bool:
    """The settings before there were weights."""
    return row == ("uniform", "full", "uniform", 0.05, 0.5)


if __name__ == "__main__":
    main()
