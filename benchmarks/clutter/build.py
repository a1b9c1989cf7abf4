"""Build a collection with clutter: clean queries, and a gallery of the same objects on photographs.

    python -m benchmarks.clutter.build emoji
    python -m benchmarks.clutter.build furniture

The objects come from `benchmarks/emoji` or `benchmarks/furniture`, which is built first if it is missing, and the
photographs from Debian's wallpaper packages. README.md describes what is written.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.clutter.objects import Object, read_objects
from benchmarks.clutter.photographs import Credit, read_credits, write_photographs
from benchmarks.clutter.scenes import Scene, compose, crop, kind_of, random_for, whole
from benchmarks.emoji.build import mask_path
from benchmarks.errors import BuildError

COLUMNS = ["path", "label", "split", "half", "role", "kind"]


@dataclass(frozen=True)
class Studio:
    """What scenes are made of: objects and their folder, photographs and their folder, size in pixels, seed."""

    objects: list[Object]
    folder: Path
    photographs: Path
    size: int = 224
    seed: int = 0

    @functools.cached_property
    def credits(self) -> list[Credit]:
        return read_credits(self.photographs)

    def scene(self, item: Object) -> tuple[Scene, dict[str, Any]]:
        """The gallery image of an object, and what the metadata says of it."""
        random = random_for(item.path, self.seed)
        kind = kind_of(random)
        ground, facts = self._piece(item.half, random)
        used: dict[str, Any] = {"photograph": facts}
        other = None
        if kind == "behind-photograph":
            piece, used["other"] = self._piece(item.half, random)
            other = whole(piece)
        elif kind != "alone":
            others = [o for o in self._of_half(item.half) if o.label != item.label]
            if others:
                chosen = others[int(random.integers(len(others)))]
                other, used["other"] = chosen.cutout(self.folder), {"source": f"clean/{chosen.name}"}
        scene = compose(item.cutout(self.folder), ground, kind, other, random)
        if scene.other is None:
            used.pop("other", None)
        return scene, {**scene.facts, **used}

    def _piece(self, half: str, random: np.random.Generator) -> tuple[Image.Image, dict[str, Any]]:
        names = [credit.name for credit in self.credits if credit.split == half]
        name = names[int(random.integers(len(names)))]
        square, (left, top, side, mirrored) = crop(_photograph(self.photographs / f"{name}.jpg"), self.size, random)
        return square, {"name": name, "box": [left, top, left + side, top + side], "mirrored": bool(mirrored)}

    @functools.cache  # noqa: B019  (a process has one studio)
    def _of_half(self, half: str) -> list[Object]:
        return [item for item in self.objects if item.half == half]

    def __hash__(self) -> int:
        return id(self)


def build(objects: Path, into: Path, size: int = 224, seed: int = 0, photographs: Path | None = None) -> None:
    """Write the collection; `data.csv` is written last, so that it exists only if everything does.

    Args:
        objects: a collection with masks, such as `benchmarks/emoji/build.py` writes.
        into: the folder to write.
        size: width and height of the gallery images.
        seed: of all random choices.
        photographs: a folder written by `write_photographs`; by default they are fetched.
    """
    start = time.monotonic()
    items = read_objects(objects)
    (into / "data.csv").unlink(missing_ok=True)
    into.mkdir(parents=True, exist_ok=True)
    if photographs is None:
        write_photographs(into / "photographs")
    elif photographs.resolve() != (into / "photographs").resolve():
        shutil.copytree(photographs, into / "photographs", dirs_exist_ok=True)
    rows = [_write_clean(item, objects, into) for item in items]
    studio = Studio(items, objects, into / "photographs", size, seed)
    rows += _write_gallery(studio, [item for item in items if item.role == "gallery"], into)
    _copy_credits(objects, into)
    (into / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    listed = [row for row in rows if row["role"] != "source"]
    with open(into / "data.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(listed)
    print(_summary(listed, time.monotonic() - start) + f"\nwrote {into / 'data.csv'}")


def _write_clean(item: Object, objects: Path, into: Path) -> dict[str, Any]:
    """Copy an object's image and mask. All are kept: those of the gallery are where its correspondences lead."""
    path, mask = f"clean/{item.name}", f"masks/clean/{item.name}"
    for source, target in ((item.path, path), (mask_path(item.path), mask)):
        (into / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(objects / source, into / target)
    role = "query" if item.role == "query" else "source"
    return {"path": path, **_listed(item, role), "kind": "clean", "mask": mask}


def _write_gallery(studio: Studio, items: list[Object], into: Path) -> list[dict[str, Any]]:
    rows = []
    with ProcessPoolExecutor(initializer=_prepare, initargs=(studio, into)) as pool:
        for done, row in enumerate(pool.map(_write_scene, items, chunksize=16), start=1):
            rows.append(row)
            if done % 1000 == 0:
                print(f"  {done:,} of {len(items):,} composed", flush=True)
    return rows


_prepared: list[tuple[Studio, Path]] = []


def _prepare(studio: Studio, into: Path) -> None:
    _prepared[:] = [(studio, into)]


def _write_scene(item: Object) -> dict[str, Any]:
    (studio, into) = _prepared[0]
    scene, facts = studio.scene(item)
    name = item.name.rpartition(".")[0]
    row = {"path": f"gallery/{name}.jpg", **_listed(item, "gallery"), "kind": facts.pop("kind")}
    row |= {"source": f"clean/{item.name}", "mask": f"masks/gallery/{name}.png", **facts}
    _save(scene.picture, into / row["path"])
    _save(scene.visible * 255, into / row["mask"])
    if scene.other is not None:
        row["other"]["mask"] = f"masks/other/{name}.png"
        _save(scene.other * 255, into / row["other"]["mask"])
    return row


def _listed(item: Object, role: str) -> dict[str, str]:
    return {"label": item.label, "split": "train" if item.half == "train" else role, "half": item.half, "role": role}


def _save(pixels: np.typing.NDArray[np.float32], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))
    if file.suffix == ".jpg":
        image.save(file, quality=95, subsampling=0)
    else:
        image.save(file, compress_level=6)


@functools.lru_cache(maxsize=64)
def _photograph(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def _copy_credits(objects: Path, into: Path) -> None:
    sources = json.loads((objects / "SOURCES.json").read_text("utf-8"))
    credits = [asdict(credit) for credit in read_credits(into / "photographs")]
    text = json.dumps({"objects": sources, "photographs": credits}, indent=2)
    (into / "SOURCES.json").write_text(text + "\n", "utf-8")
    if (objects / "points").is_dir():
        shutil.copytree(objects / "points", into / "points", dirs_exist_ok=True)


def _summary(rows: list[dict[str, Any]], seconds: float) -> str:
    lines = []
    for half in ("train", "test"):
        of = [row for row in rows if row["half"] == half]
        kinds = [row["kind"] for row in of if row["role"] == "gallery"]
        counted = ", ".join(f"{kinds.count(kind):,} {kind}" for kind in sorted(set(kinds)))
        lines.append(
            f"{half}: {len({row['label'] for row in of}):,} classes, {len(of) - len(kinds):,} queries, "
            f"{len(kinds):,} gallery images ({counted})"
        )
    return "\n".join([*lines, f"{seconds:.0f} s"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("objects", choices=("emoji", "furniture"), help="the collection whose objects are pasted")
    parser.add_argument("--from", dest="source", type=Path, help="its folder (default: benchmarks/OBJECTS/data)")
    parser.add_argument("--into", type=Path, help="folder to write (default: benchmarks/clutter/data/OBJECTS)")
    parser.add_argument("--size", type=int, default=224, help="width and height of gallery images (default: 224)")
    parser.add_argument("--seed", type=int, default=0, help="of the random choices (default: 0)")
    options = parser.parse_args()
    if not 32 <= options.size <= 4096:
        parser.error(f"expected --size from 32 to 4096 pixels, got {options.size}")
    objects = options.source or here.parent / options.objects / "data"
    try:
        if not (objects / "data.csv").is_file():
            command = [sys.executable, "-m", f"benchmarks.{options.objects}.build", "--into", str(objects)]
            if subprocess.run(command, check=False).returncode:
                sys.exit(f"error: the objects could not be built; see the message of {' '.join(command[1:])}")
        build(objects, options.into or here / "data" / options.objects, options.size, options.seed)
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
