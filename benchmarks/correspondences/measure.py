"""How often a part is matched with the cell that holds its counterpart, on the three pairs of photographs.

    python -m benchmarks.correspondences.build
    python -m benchmarks.correspondences.measure [--model lite0 lite0/16 ..] [--grid 4 7 14 28]

This is the measure of correct keypoints of `diml faithfulness --points`, for many settings at once: by transport, by
weights of parts, and by method. A weight by rarity is fitted on the six photographs. `nearest` is max-sim, the best
local similarity without any transport. `--model lite0/16` is lite0 up to the stage of stride 16. Each pair counts in
both directions.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.correspondences.build import DATA
from benchmarks.correspondences.models import load
from diml.errors import DimlError
from diml.explanation.methods import Method, methods
from diml.explanation.methods.structural import Structural
from diml.faithfulness import FaithfulnessSettings, open_pairs
from diml.faithfulness.grids import at_grid
from diml.faithfulness.keypoint_grids import measure_keypoints
from diml.faithfulness.pairs import ImagePair
from diml.faithfulness.report import KeypointScores
from diml.markdown import table
from diml.model import StructuralModel

WEIGHTS = ("uniform", "norm", "norm*rarity")
FULL: dict[str, Any] = {"transport": "full", "mass": 1.0}
TRANSPORTS: dict[str, dict[str, Any]] = {
    "full": FULL,
    "full, eps 0.01": {**FULL, "eps": 0.01},
    "partial 0.7": {**FULL, "mass": 0.7},
    "one-sided": {"transport": "one-sided", "mass": 1.0},
    "dustbin 0.3": {"transport": "dustbin", "mass": 1.0, "bin_similarity": 0.3},
    "dustbin 0.6": {"transport": "dustbin", "mass": 1.0, "bin_similarity": 0.6},
}
OTHERS = ("nearest", "contributions", "bilinear", "emd", "identity")
EXACT = 14
"""The largest side of a grid for the exact plan, whose linear program grows with its fourth power."""

KINDS = ("graf", "aloe", "motorcycle")


def rows_of(
    model: StructuralModel, pairs: list[ImagePair], grid: int, all_weights: list[str], transports: list[str]
) -> Iterator[tuple[str, KeypointScores]]:
    """Every setting on one grid, by weights: the transports, and for uniform weights the other methods too."""
    settings = FaithfulnessSettings(grids=[(grid, grid)])
    files = sorted({pair.a.name for pair in pairs})
    for weights in all_weights:
        weighted = at_grid(model, (grid, grid)).with_weights(None if weights == "uniform" else weights)
        if not weighted.weights_ready:
            weighted.fit_weights(files)
        chosen: list[Method] = [Structural(name, TRANSPORTS[name]) for name in transports]
        if weights == "uniform":
            chosen += methods([name for name in OTHERS if name != "emd" or grid <= EXACT])
        rows, _ = measure_keypoints(weighted, pairs, chosen, settings, lambda *_: None)
        for row in rows:
            yield weights, row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["lite0", "lite0/16"])
    parser.add_argument("--grid", type=int, nargs="+", default=[4, 7, 14, 28])
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=WEIGHTS)
    parser.add_argument("--transport", nargs="+", choices=list(TRANSPORTS), default=list(TRANSPORTS))
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    spec = options.data / "data.csv"
    if not spec.is_file():
        sys.exit(f"error: {options.data}: has no data.csv; run python -m benchmarks.correspondences.build first")
    try:
        _, pairs = open_pairs(str(spec), 200, points=options.data / "points.csv")
        for source in options.model:
            model = load(source)
            for grid in options.grid:
                found = list(rows_of(model, pairs, grid, options.weights, options.transport))
                first = found[0][1]
                size = at_grid(model, (grid, grid)).encoder.preprocessing.size
                print(
                    f"\n{source}, {grid}x{grid} cells of {size[1]}x{size[0]} pixels, {first.points} points, chance "
                    f"{100 * first.chance:.1f} %; right cell, percent\n",
                )
                print(
                    table(
                        ["weights", "method", *KINDS, "mean", "or beside it"],
                        ([weights, *cells(row)] for weights, row in found),
                        left=2,
                    )
                )
                best = ", ".join(f"{kind} {100 * (first.best_by_kind[kind] or 0):.1f}" for kind in KINDS)
                print(f"\nAt best: {best}", flush=True)
    except DimlError as error:
        sys.exit(f"error: {error}")


def cells(row: KeypointScores) -> list[str]:
    """Method, the right cell by pair of photographs, their mean, and the mean of the right cell or one beside it."""
    by_kind = [100 * (row.by_kind[kind] or 0) for kind in KINDS]
    return [row.method, *(f"{x:.1f}" for x in (*by_kind, 100 * row.right.mean, 100 * row.near.mean))]


if __name__ == "__main__":
    main()
