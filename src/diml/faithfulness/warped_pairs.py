"""Photographs paired with warped copies of themselves, so that correspondences are known."""

from __future__ import annotations

import random
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from diml.data import Collection, open_folder
from diml.errors import ImageError, UsageError
from diml.faithfulness.pairs import ImagePair, LazyImage, file_image
from diml.faithfulness.warps import WARPS, Warp

# The photographs in the package; its other images are textures, drawings and pages of text.
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
    """The photographs that the installed scikit-image contains; nothing is downloaded.

    Raises:
        UsageError: scikit-image is not installed, or contains none of them.
    """
    found = find_spec("skimage")
    if found is None or found.origin is None:
        raise UsageError(
            "photos needs scikit-image, which is not installed; run pip install 'diml[bench]', or name a folder"
        )
    folder = Path(found.origin).parent / "data"
    there = [name for name in PACKAGED if (folder / name).is_file()]
    if not there:
        raise UsageError("the installed scikit-image contains no photographs; name a folder of images")
    return Collection(folder, there, name="photos")


def photographs(spec: str) -> Collection:
    """The images of `photos`, `photos:FOLDER`, or a folder.

    Raises:
        UsageError: the folder does not exist.
        DatasetError: there is no image in it.
    """
    if spec == "photos":
        return packaged_photographs()
    return open_folder(spec.removeprefix("photos:"))


def warped_pairs(collection: Collection, n: int, seed: int = 0, warps: Sequence[Warp] = WARPS) -> list[ImagePair]:
    """At most n pairs of a photograph and one of its warped copies, of as few photographs as possible, drawn at random.

    A photograph that cannot be read is paired with itself, without points, so that it is reported with the pairs.
    """
    wanted = min(len(collection), -(-n // len(warps)))
    sources = [file_image(collection, i) for i in sorted(random.Random(seed).sample(range(len(collection)), wanted))]
    made: list[ImagePair] = []
    for source in sources:
        try:
            size = source.read().size
        except ImageError:
            made.append(ImagePair(source, source, source.name))
            continue
        made.extend(
            ImagePair(source, warped_image(source, warp), source.name, warp.name, warp.points(size)) for warp in warps
        )
    return made[:n]


def warped_image(source: LazyImage, warp: Warp) -> LazyImage:
    def read() -> Image.Image:
        return warp.apply(source.read())

    return LazyImage(f"{source.name} ({warp.name})", read)
