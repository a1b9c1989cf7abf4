"""Build the furniture benchmark: 3-D models seen from several sides; a class is a model.

    python -m benchmarks.furniture.build [--into benchmarks/furniture/data] [--size 224]

This needs Debian's `apt-get` (to fetch sweethome3d-furniture), pyrender and trimesh. README.md describes what is
written.
"""

from __future__ import annotations

import argparse
import csv
import json
import posixpath
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.debian_packages import fetch
from benchmarks.emoji.build import split_of
from benchmarks.errors import BuildError
from benchmarks.furniture.cameras import Camera, around
from benchmarks.furniture.catalogue import FOLDER, LICENSES, PACKAGE, Model, read_files, read_models
from benchmarks.furniture.correspondences import surface_points
from benchmarks.furniture.render import Renderer, load

COLUMNS = ["path", "label", "split", "view", "azimuth", "elevation"]
SMALLEST = 0.02
"""A model is left out if it covers less of a view, as a share of the pixels, on average."""


@dataclass(frozen=True)
class Job:
    """A model to render: its files, the cameras, and the folder to write to."""

    model: Model
    files: dict[str, bytes]
    cameras: list[Camera]
    into: Path


def build(into: Path, cameras: list[Camera], limit: int | None = None) -> None:
    """Fetch, render and list everything; `data.csv` is written last, so that it exists only if everything does."""
    start = time.monotonic()
    into.mkdir(parents=True, exist_ok=True)
    (into / "data.csv").unlink(missing_ok=True)
    catalogues, source = _fetch()
    models = _unique([model for name, archive in sorted(catalogues.items()) for model in read_models(name, archive)])
    jobs = (Job(model, read_files(catalogues[model.catalogue], model), cameras, into) for model in models[:limit])
    rows, used, left_out = [], [], {}
    with ProcessPoolExecutor() as pool:
        for done, (model, reason) in enumerate(zip(models, pool.map(_render, jobs), strict=False), start=1):
            if reason:
                left_out[model.label] = reason
                print(f"  {model.label} left out: {reason}", flush=True)
            else:
                used.append(model)
                rows += [_row(model, view, camera) for view, camera in enumerate(cameras)]
            if done % 100 == 0:
                print(f"  {done:,} of {len(models):,} models rendered", flush=True)
    cameras_text = json.dumps([asdict(camera) | {"pose": camera.pose.tolist()} for camera in cameras], indent=2)
    (into / "cameras.json").write_text(cameras_text + "\n", "utf-8")
    sources = {**source, "models": [asdict(model) for model in used], "left_out": left_out}
    (into / "SOURCES.json").write_text(json.dumps(sources, indent=2) + "\n", "utf-8")
    _write_table(rows, into / "data.csv")
    tests = sum(split_of(model.label) == "test" for model in used)
    print(
        f"{len(used):,} models x {len(cameras)} views = {len(rows):,} images of {cameras[0].size} x "
        f"{cameras[0].size} pixels; {len(used) - tests:,} models to train, {tests:,} to test; "
        f"{time.monotonic() - start:.0f} s\nwrote {into / 'data.csv'}"
    )


def _fetch() -> tuple[dict[str, bytes], dict[str, Any]]:
    """The catalogues by name, and the package."""
    with tempfile.TemporaryDirectory() as folder:
        package = fetch(PACKAGE, Path(folder))
        files = package.members(lambda path: path.startswith(FOLDER) and path.endswith(".sh3f"))
        found = {posixpath.basename(path).removesuffix(".sh3f"): content for path, content in files}
    if missing := sorted(LICENSES.keys() - found.keys()):
        raise BuildError(
            f"expected the catalogue {missing[0]}.sh3f in {PACKAGE}, version {package.version} has no such file; "
            "use the package of Debian 12"
        )
    source = {"package": package.name, "version": package.version, "sha256": package.sha256}
    return {name: found[name] for name in LICENSES}, source


def _unique(models: list[Model]) -> list[Model]:
    """One model for each label: a catalogue may list the same file twice."""
    return list({model.label: model for model in reversed(models)}.values())[::-1]


_renderers: dict[int, Renderer] = {}


def _render(job: Job) -> str:
    """Write the images, masks and points of a model; what is said instead if it is left out."""
    size = job.cameras[0].size
    if size not in _renderers:
        _renderers[size] = Renderer(size)
    try:
        meshes = load(job.files, posixpath.basename(job.model.file), job.model.rotation)
        views = _renderers[size].views(meshes, job.cameras)
    except BuildError as error:
        return str(error)
    except Exception as error:  # the loaders of meshes and textures raise errors of many types
        return f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
    share = float(np.mean([view.opaque.mean() for view in views]))
    if share < SMALLEST:
        return f"covers {100 * share:.1f} % of a view on average, less than {100 * SMALLEST:.0f} %"
    for number, view in enumerate(views):
        for kind, picture in (("images", view.image), ("masks", view.mask)):
            file = job.into / kind / job.model.label / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file, compress_level=6)
    seen = surface_points(job.cameras, [view.depth for view in views], [view.opaque for view in views])
    points = job.into / "points" / f"{job.model.label}.npz"
    points.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(points, points=seen.points, pixels=seen.pixels, visible=seen.visible)
    return ""


def _row(model: Model, view: int, camera: Camera) -> dict[str, Any]:
    path = f"images/{model.label}/{view}.png"
    where = {"view": view, "azimuth": camera.azimuth, "elevation": camera.elevation}
    return {"path": path, "label": model.label, "split": split_of(model.label), **where}


def _write_table(rows: list[dict[str, Any]], file: Path) -> None:
    with open(file, "w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--into", type=Path, default=here / "data", help="folder to write (default: data beside this)")
    parser.add_argument("--size", type=int, default=224, help="width and height in pixels (default: 224)")
    parser.add_argument("--azimuths", type=int, default=4, help="views at each elevation (default: 4)")
    parser.add_argument("--elevations", type=float, nargs="+", default=[15, 40], help="degrees (default: 15 40)")
    parser.add_argument("--limit", type=int, help="render only so many models, to try it")
    options = parser.parse_args()
    if not 32 <= options.size <= 1024:
        parser.error(f"expected --size from 32 to 1024 pixels, got {options.size}")
    if options.azimuths < 1 or not all(-89 <= elevation <= 89 for elevation in options.elevations):
        parser.error("expected --azimuths >= 1 and --elevations from -89 to 89 degrees")
    try:
        build(options.into, around(options.azimuths, options.elevations, options.size), options.limit)
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
