"""Build the correspondences benchmark: three pairs of photographs, and the points that correspond in each.

    python -m benchmarks.correspondences.build [--into benchmarks/correspondences/data]

This needs Debian's `apt-get` (to fetch opencv-doc) and pip (to fetch scikit-image 0.16.2, of which nothing is installed
or run). It writes `images/PAIR/a.*` and `b.*` as they are in the packages, `data.csv` (path,label; a label is a pair),
`points.csv` (a,b,ax,ay,bx,by,kind) for `diml faithfulness --points`, `images/PAIR/places.npy` (where each pixel of a
lies in b), and `SOURCES.json`.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks import debian_packages, python_packages
from benchmarks.correspondences.check import correlations
from benchmarks.correspondences.truth import (
    Correspondences,
    on_lattice,
    places_by_disparity,
    places_by_homography,
    read_homography,
)
from benchmarks.errors import BuildError
from diml.markdown import table

DATA = Path(__file__).resolve().parent / "data"
DEBIAN = "usr/share/doc/opencv-doc/examples/data/"
SKIMAGE = ("scikit-image", "0.16.2")
# Of that version there are wheels of older Pythons only.
PLATFORM = (
    *("--python-version", "3.7", "--implementation", "cp", "--abi", "cp37m"),
    *("--platform", "manylinux1_x86_64"),
)
FROM_DEBIAN = ("graf1.png", "graf3.png", "H1to3p.xml", "aloeL.jpg", "aloeR.jpg", "aloeGT.png")
FROM_SKIMAGE = ("motorcycle_left.png", "motorcycle_right.png", "motorcycle_disp.npz")
_MOST_NUMBERS = 10_000_000


@dataclass(frozen=True, eq=False)
class Pair:
    """Two photographs of a scene, as files, and where the pixels of a lie in b: (h, w, 2), NaN where not seen."""

    name: str
    a: str
    b: str
    places: NDArray[np.float64]

    @cached_property
    def points(self) -> Correspondences:
        return on_lattice(self.places)


def fetch(folder: Path) -> tuple[dict[str, bytes], dict[str, dict[str, str]]]:
    """The files by name, and what is known of their packages."""
    package = debian_packages.fetch("opencv-doc", folder)
    wheel = python_packages.fetch(*SKIMAGE, folder, PLATFORM)
    debian = package.members(lambda path: path in {DEBIAN + name for name in FROM_DEBIAN})
    skimage = wheel.members(lambda path: path in {f"skimage/data/{name}" for name in FROM_SKIMAGE})
    files = {PurePosixPath(path).name: data for path, data in (*debian, *skimage)}
    if missing := [name for name in (*FROM_DEBIAN, *FROM_SKIMAGE) if name not in files]:
        raise BuildError(f"expected {missing[0]} in opencv-doc or scikit-image, got none; the packages have changed")
    sources = {each.name: {"version": each.version, "sha256": each.sha256} for each in (package, wheel)}
    return files, sources


def known_pairs(files: dict[str, bytes]) -> list[Pair]:
    """The pairs and their points, from the files of `fetch`."""
    homography = read_homography(files["H1to3p.xml"])
    sizes = [_open(files[name]).size for name in ("graf1.png", "graf3.png")]
    aloe = np.asarray(_open(files["aloeGT.png"]).convert("L"), np.float64)
    with np.load(io.BytesIO(files["motorcycle_disp.npz"]), allow_pickle=False) as stored:
        motorcycle = stored["arr_0"].astype(np.float64)
    return [
        Pair("graf", "graf1.png", "graf3.png", places_by_homography(homography, sizes[0], sizes[1])),
        Pair("aloe", "aloeL.jpg", "aloeR.jpg", places_by_disparity(np.where(aloe > 0, aloe, np.nan))),
        Pair("motorcycle", "motorcycle_left.png", "motorcycle_right.png", places_by_disparity(motorcycle)),
    ]


def build(into: Path) -> None:
    """Fetch, check and list everything; `data.csv` is written last, so that it exists only if everything does."""
    with tempfile.TemporaryDirectory() as folder:
        files, sources = fetch(Path(folder))
    pairs = known_pairs(files)
    into.mkdir(parents=True, exist_ok=True)
    (into / "data.csv").unlink(missing_ok=True)
    for pair in pairs:
        for name in (pair.a, pair.b):
            file = into / "images" / pair.name / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(files[name])
        np.save(into / "images" / pair.name / "places.npy", pair.places.astype(np.float32), allow_pickle=False)
    (into / "SOURCES.json").write_text(json.dumps(sources, indent=2) + "\n", "utf-8")
    _write(into / "points.csv", ["a", "b", "ax", "ay", "bx", "by", "kind"], point_rows(pairs))
    images = [[f"images/{pair.name}/{name}", pair.name] for pair in pairs for name in (pair.a, pair.b)]
    _write(into / "data.csv", ["path", "label"], images)
    print(checked(pairs, files))
    print(f"\nwrote {into / 'data.csv'} and {into / 'points.csv'}")


def point_rows(pairs: list[Pair]) -> list[list[str]]:
    """The rows of `points.csv`."""
    return [
        [f"images/{p.name}/{p.a}", f"images/{p.name}/{p.b}", *(f"{value:.2f}" for value in (*a, *b)), p.name]
        for p in pairs
        for a, b in zip(p.points.a, p.points.b, strict=True)
    ]


def checked(pairs: list[Pair], files: dict[str, bytes]) -> str:
    """A table of the correlation of grey values at the points, and at points beside them."""
    rows = []
    for pair in pairs:
        a, b = (_grey(files[name]) for name in (pair.a, pair.b))
        found = correlations(a, b, pair.points)
        moved = np.hypot(*(pair.points.b - pair.points.a).T)
        rows.append([pair.name, str(len(pair.points)), f"{moved.mean():.0f}", *(f"{r:.3f}" for r in found.values())])
    shifts = [f"{shift} px off" if shift else "at the points" for shift in found]
    return "Correlation of the grey values:\n\n" + table(["pair", "points", "moved by, px", *shifts], rows)


def _grey(data: bytes) -> NDArray[np.float64]:
    return np.asarray(_open(data).convert("L"), np.float64)


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    if image.width * image.height > _MOST_NUMBERS:
        raise BuildError(f"expected an image of at most {_MOST_NUMBERS:,} pixels, got {image.width} x {image.height}")
    return image


def _write(file: Path, columns: list[str], rows: list[list[str]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([columns, *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=DATA)
    options = parser.parse_args()
    try:
        build(options.into)
    except (BuildError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
