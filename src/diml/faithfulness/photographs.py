"""Photographs whose warped copies have known correspondences: those that scikit-image ships, or a folder of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from diml.data import Collection, open_folder
from diml.errors import ImageError, UsageError
from diml.faithfulness.pairs import Pair, Picture, file_picture
from diml.faithfulness.warps import WARPS, Warp

# Photographs inside the package; the others there are textures, drawings, and pages of text.
PACKAGED = (
    "astronaut.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "hubble_deep_field.jpg",
    "moon.png",
    "motorcycle_left.png",
    "retina.jpg",
    "rocket.jpg",
)


def packaged_photographs() -> Collection:
    """The photographs that the installed scikit-image holds; nothing is downloaded.

    Raises:
        UsageError: scikit-image is not installed, or holds none of them.
    """
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise UsageError(
            "photos are scikit-image's, which is not installed; pip install 'diml[bench]', or give a folder"
        )
    folder = Path(found.origin).parent / "data"
    there = [name for name in PACKAGED if (folder / name).is_file()]
    if not there:
        raise UsageError("the installed scikit-image holds no photographs; give a folder of them in place of photos")
    return Collection(folder, there, name="photos")


def photographs(spec: str) -> Collection:
    """`photos`, `photos:FOLDER`, or a folder.

    Raises:
        UsageError: there is no such folder.
        DatasetError: there is no image in it.
    """
    if spec == "photos":
        return packaged_photographs()
    return open_folder(spec.removeprefix("photos:"))


def warped_pairs(collection: Collection, n: int, seed: int = 0, warps: Sequence[Warp] = WARPS) -> list[Pair]:
    """Photographs, each with all of its warped copies: as many as n pairs take, drawn at random where there are more.

    One that cannot be read makes a pair with itself and without points, so that it is told when the pairs are read.
    """
    wanted = min(len(collection), -(-n // len(warps)))
    sources = [file_picture(collection, i) for i in sorted(random.Random(seed).sample(range(len(collection)), wanted))]
    made: list[Pair] = []
    for source in sources:
        try:
            size = source.read().size
        except ImageError:
            made.append(Pair(source, source, source.name))
            continue
        made.extend(
            Pair(source, warped_picture(source, warp), source.name, warp.name, warp.points(size)) for warp in warps
        )
    return made[:n]


def warped_picture(source: Picture, warp: Warp) -> Picture:
    def read() -> Image.Image:
        return warp.apply(source.read())

    return Picture(f"{source.name} ({warp.name})", read)
