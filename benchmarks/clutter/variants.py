"""Change the queries of a built collection: clean, occluded, cropped, shifted, blurred.

    python -m benchmarks.clutter.variants benchmarks/clutter/data/emoji
    diml evaluate benchmarks/clutter/data/emoji/occluded.csv

Works on the collections of emoji, furniture and clutter. It writes `KIND.csv` for each kind, with the changed queries,
and the gallery and the training half as they are. The images are in `variants/KIND/`; `variants.jsonl` says what was
done to each.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.clutter.layers import Affine, Cutout, ground_of, opacity
from benchmarks.clutter.objects import query_paths
from benchmarks.clutter.scenes import occlude, random_for
from benchmarks.errors import BuildError

CROPPED = (0.5, 0.75)
"""Side of the window that is left, as a share of the image's; it holds at least KEPT of the object."""

KEPT = 0.4

SHIFTED = (0.2, 0.35)
"""How far the image is moved, in a random direction, as a share of its side."""

BLURRED = (0.01, 0.025)
"""Standard deviation of the Gaussian, as a share of the image's side."""

_TRIES = 200


@dataclass(frozen=True)
class Query:
    """A query: its path, class and mask, and what it may be occluded with."""

    path: str
    label: str
    cutout: Cutout
    others: Callable[[np.random.Generator], Cutout]


def clean(query: Query, random: np.random.Generator) -> tuple[Image.Image, dict[str, Any]]:
    return query.cutout.image, {}


def occluded(query: Query, random: np.random.Generator) -> tuple[Image.Image, dict[str, Any]]:
    """20 to 50 % of the object are covered by an object of another class."""
    image, below = query.cutout.image, opacity(query.cutout.mask)
    for _ in range(_TRIES):
        found = occlude(below, query.others(random), image.width, random)
        if found is not None:
            by, layer = found
            pixels = np.rint(layer.over(np.asarray(image, np.float32))).astype(np.uint8)
            covered = float((below * layer.opacity).sum() / below.sum())
            return Image.fromarray(pixels), {"covered": round(covered, 4), "other_affine": by}
    raise BuildError(f"{query.path}: no occluder fits; expected a mask that shows an object")


def cropped(query: Query, random: np.random.Generator) -> tuple[Image.Image, dict[str, Any]]:
    """A window of the image, enlarged to the size of the image."""
    image, mask = query.cutout.image, opacity(query.cutout.mask)
    for _ in range(_TRIES):
        side = round(image.width * random.uniform(*CROPPED))
        left, top = (int(random.integers(0, image.width - side + 1)) for _ in range(2))
        if mask[top : top + side, left : left + side].sum() >= KEPT * mask.sum():
            factor = image.width / side
            by: Affine = ((factor, 0, -factor * left), (0, factor, -factor * top))
            window = (left, top, left + side, top + side)
            return image.resize(image.size, Image.Resampling.BICUBIC, window), {"affine": by}
    raise BuildError(f"{query.path}: no window holds enough of the object; expected a mask that shows an object")


def shifted(query: Query, random: np.random.Generator) -> tuple[Image.Image, dict[str, Any]]:
    """The image moved, so that a part of it may leave the frame; what is left free has the colour of the ground."""
    image = query.cutout.image
    angle, length = random.uniform(0, 2 * np.pi), image.width * random.uniform(*SHIFTED)
    x, y = round(length * np.cos(angle)), round(length * np.sin(angle))
    moved = Image.new("RGB", image.size, query.cutout.ground)
    moved.paste(image, (x, y))
    return moved, {"affine": ((1, 0, x), (0, 1, y))}


def blurred(query: Query, random: np.random.Generator) -> tuple[Image.Image, dict[str, Any]]:
    """A Gaussian blur."""
    radius = query.cutout.image.width * random.uniform(*BLURRED)
    return query.cutout.image.filter(ImageFilter.GaussianBlur(radius)), {"radius": round(radius, 4)}


VARIANTS = {change.__name__: change for change in (clean, occluded, cropped, shifted, blurred)}
"""The kinds of queries, each a function of a query and random numbers that gives an image and what was done."""


def write_variants(folder: Path, seed: int = 0) -> None:
    """Write all variants of the queries of a collection, and a table for each.

    Raises:
        BuildError: a mask is missing, or a query cannot be changed.
    """
    with open(folder / "data.csv", encoding="utf-8", newline="") as file:
        rows = _with_roles(list(csv.DictReader(file)))
    asking = [row for row in rows if row["split"] == "query"]
    notes = []
    for kind, change in VARIANTS.items():
        for row in asking:
            random = random_for(f"{kind}/{row['path']}", seed)
            image, facts = change(_query(folder, row, asking), random)
            target = f"variants/{kind}/{row['path'].partition('/')[2]}"
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            image.save(folder / target, compress_level=6)
            notes.append({"path": target, "label": row["label"], "kind": kind, "source": row["path"], **facts})
    (folder / "variants.jsonl").write_text("".join(json.dumps(note) + "\n" for note in notes), "utf-8")
    for kind in VARIANTS:
        queries = [note for note in notes if note["kind"] == kind]
        listed = [{"path": note["path"], "label": note["label"], "split": "query"} for note in queries]
        _write_table(listed + [row for row in rows if row["split"] != "query"], folder / f"{kind}.csv")
    print(f"{len(asking):,} queries x {len(VARIANTS)} variants\nwrote {folder}/{{{','.join(VARIANTS)}}}.csv")


def _with_roles(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Path, label and split; the test half is divided into queries and gallery if it is not."""
    queries = query_paths([(row["path"], row["label"]) for row in rows if row["split"] == "test"])
    roles = {row["path"]: "query" if row["path"] in queries else "gallery" for row in rows}
    return [
        {
            "path": row["path"],
            "label": row["label"],
            "split": roles[row["path"]] if row["split"] == "test" else row["split"],
        }
        for row in rows
    ]


def _query(folder: Path, row: dict[str, str], asking: list[dict[str, str]]) -> Query:
    def others(random: np.random.Generator) -> Cutout:
        while (chosen := asking[int(random.integers(len(asking)))])["label"] == row["label"]:
            pass
        return _cutout(folder, chosen["path"])

    if len({other["label"] for other in asking}) < 2:
        raise BuildError(f"{folder}: expected queries of two classes or more, got one class")
    return Query(row["path"], row["label"], _cutout(folder, row["path"]), others)


def _cutout(folder: Path, path: str) -> Cutout:
    """A query and its mask: masks/clean/... for clean/..., masks/... for images/..."""
    mask = folder / "masks" / path.removeprefix("images/")
    if not mask.is_file():
        raise BuildError(f"expected the mask {mask}, it is missing; build {folder} again")
    with Image.open(folder / path) as opened, Image.open(mask) as opened_mask:
        image, grey = opened.convert("RGB"), opened_mask.convert("L")
    return Cutout(image, grey, ground_of(image, grey))


def _write_table(rows: list[dict[str, str]], file: Path) -> None:
    with open(file, "w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, ["path", "label", "split"], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, help="a collection that one of the builds wrote")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices (default: 0)")
    options = parser.parse_args()
    if not (options.folder / "data.csv").is_file():
        sys.exit(f"error: {options.folder}: has no data.csv; expected a folder that a build of a benchmark wrote")
    try:
        write_variants(options.folder, options.seed)
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
