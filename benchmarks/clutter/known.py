"""Write what is known of the test half as tables for `diml faithfulness`: masks, and points that correspond.

    python -m benchmarks.clutter.known benchmarks/clutter/data/furniture --into known/furniture
    diml faithfulness benchmarks/clutter/data/furniture/data.csv \\
        --masks known/furniture/masks.csv --points known/furniture/points.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.clutter.correspondences import correspondences
from benchmarks.clutter.scenes import random_for

MOST = 40
"""Points of a pair of images that are written; of more, as many are drawn at random."""


def write_known(folder: Path, into: Path) -> tuple[int, int]:
    """Write `masks.csv` of the gallery images, and `points.csv` of pairs of a query and a gallery image, if any.

    Args:
        folder: a collection that `build.py` wrote.
        into: the folder to write.

    Returns:
        The numbers of masks and of pairs with points.
    """
    lines = (folder / "metadata.jsonl").read_text("utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["half"] == "test"]
    gallery = [row for row in rows if row["role"] == "gallery"]
    into.mkdir(parents=True, exist_ok=True)
    masks = ([row["path"], row["mask"], row.get("other", {}).get("mask", ""), row["kind"]] for row in gallery)
    _write(into / "masks.csv", ["path", "mask", "other_mask", "kind"], masks)
    points = list(_points(folder, rows))
    if points:
        _write(into / "points.csv", ["a", "b", "ax", "ay", "bx", "by"], points)
    return len(gallery), len({(row[0], row[1]) for row in points})


def _points(folder: Path, rows: list[dict[str, Any]]) -> Iterator[list[Any]]:
    of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of[row["label"]].append(row)
    for label in sorted(of):
        for query in of[label]:
            for image in of[label]:
                if (query["role"], image["role"]) == ("query", "gallery"):
                    a, b = correspondences(folder, query, image)
                    random = random_for(f"{query['path']} {image['path']}", 0)
                    chosen = np.sort(random.permutation(len(a))[:MOST])
                    for at in chosen:
                        places = [f"{value:.2f}" for value in (*a[at], *b[at])]
                        yield [query["path"], image["path"], *places]


def _write(file: Path, columns: list[str], rows: Iterable[list[Any]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a collection that build.py wrote")
    parser.add_argument("--into", type=Path, help="folder to write (default: that folder)")
    options = parser.parse_args()
    if not (options.folder / "metadata.jsonl").is_file():
        sys.exit(f"error: {options.folder}: has no metadata.jsonl; expected a folder that build.py wrote")
    masks, pairs = write_known(options.folder, options.into or options.folder)
    print(f"{masks:,} masks, points of {pairs:,} pairs of images")


if __name__ == "__main__":
    main()
