"""Zero-shot retrieval on the food photographs: pooled against matched parts, with all weights and transports.

    python -m benchmarks.food.build
    python -m benchmarks.food.evaluate --model lite0 [lite2 ..] [--weights norm*rarity] [--transport one-sided]

Nothing here has seen a label. For each model two heads are judged: none, and a whitening fitted on all photographs of
the collection, as `diml index` fits it. Photographs of a food with at least two ask for the others among all. The first
table has Recall@1 and MAP@R in percent: of the pooled vectors, uniform and weighted, of matched parts with the settings
before there were weights, and of the settings asked for, on shortlists of 100 and with every pair matched. The second
has the differences of these two from the other rows with 95 % intervals, by a bootstrap over foods of the paired
differences. The third has, with the whitening, all weights by all transports at that w (partial transport, which is
slow, with --partial).
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.defaults.choose import TRANSPORTS
from benchmarks.defaults.compare import Rows, difference, percent, rows_of
from benchmarks.defaults.tasks import DIM, Fitted, Raw, embedded
from benchmarks.food.build import DATA
from diml.data import open_table
from diml.errors import DimlError
from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.matching import Matcher

WEIGHTS = ("uniform", "norm", "norm2", "rarity", "norm*rarity", "norm2*rarity")
ASKED, BEFORE = "re-ranked, as asked", "re-ranked, uniform, full, w 0.5"


def photographs(folder: Path, source: str, grid: int) -> Raw:
    """The maps of all photographs by a model, embedded once; each may be asked for and searched."""
    collection = open_table(folder / "data.csv")
    store = folder / "maps" / f"{re.sub(r'[^A-Za-z0-9.]+', '-', source)}-{grid}.pt"
    local = embedded([collection.file(at) for at in range(len(collection))], store, grid, source)
    every = [True] * len(collection)
    return Raw(FeatureMaps(local, (grid, grid)), collection.known_labels, every, every, every)


def differences(rows: Rows, groups: list[str]) -> list[list[str]]:
    """Of the settings asked for, and of those before there were weights, from the pooled ranking and each other."""
    compared = [(ASKED, name) for name in rows if name != ASKED] + [(BEFORE, "pooled, uniform")]
    return [[f"{new}, minus {old}", difference(rows[new], rows[old], groups)] for new, old in compared]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["lite0"], help="as in diml evaluate; without a head of its own")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--weights", default="norm*rarity")
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="one-sided")
    parser.add_argument("--eps", type=float, default=0.05)
    parser.add_argument("--share", type=float, default=0.85, help="w, the share of the structural similarity")
    parser.add_argument("--partial", action="store_true", help="partial transport too, which is slow")
    options = parser.parse_args()
    if not (options.data / "data.csv").is_file():
        sys.exit(f"error: {options.data}: has no data.csv; run python -m benchmarks.food.build first")
    how: dict[str, Any] = {"eps": options.eps, "weight": options.share, **TRANSPORTS[options.transport]}
    print(
        f"Recall@1 / MAP@R, percent. As asked: {options.weights}, {options.transport}, eps {options.eps:g}, w "
        f"{options.share:g}; grid {options.grid}x{options.grid}."
    )
    for source in options.model:
        try:
            raw = photographs(options.data, source, options.grid)
        except DimlError as error:
            sys.exit(f"error: {error}")
        slow = WEIGHTS if options.partial else ()
        print(f"\n{source}, {tables(raw, options.weights, Matcher(**how), slow)}", flush=True)


def tables(raw: Raw, weights: str, matcher: Matcher, slow: Sequence[str]) -> str:
    """What was measured with a model, and its three tables."""
    heads = {"no head": None, f"whitened to {DIM}": DIM}
    first: dict[str, list[str]] = {}
    second: dict[str, list[str]] = {}
    third: dict[str, list[str]] = {}
    transports: dict[str, None] = {}
    every = [True] * len(raw.labels)
    for dim in heads.values():
        listed = () if dim is None else WEIGHTS
        rows, others, groups = rows_of(Fitted(raw, every, dim), every, weights, matcher, listed, slow)
        for row, quality in rows.items():
            first.setdefault(row, []).append(percent(quality))
        for row, cell in differences(rows, groups):
            second.setdefault(row, []).append(cell)
        for name, quality in others.items():
            of, _, transport = name.partition(", ")
            transports[transport] = None
            third.setdefault(of, []).append(percent(quality))
    return "\n\n".join(
        [
            f"{len(groups)} queries of {len(set(groups))} foods among {len(raw.labels)} photographs:",
            table(["", *heads], [[row, *values] for row, values in first.items()]),
            "Differences:",
            table(["", *heads], [[row, *values] for row, values in second.items()]),
            f"By weights and transport, whitened to {DIM}:",
            table(["", *transports], [[row, *values] for row, values in third.items()]),
        ]
    )


if __name__ == "__main__":
    main()
