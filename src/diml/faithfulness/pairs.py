"""Pairs of images on which explanations are measured, with points that are known to correspond where there are any."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.data import Collection, open_image
from diml.errors import DatasetError


@dataclass(frozen=True)
class LazyImage:
    """An image that is read when it is needed: a file, or an image computed from one.

    Attributes:
        name: unique; shown in messages if the image cannot be read.
        read: returns it as RGB, upright.
    """

    name: str
    read: Callable[[], Image.Image]


@dataclass(frozen=True, eq=False)
class KnownPoints:
    """k points of image a and their counterparts in image b, in pixels of the originals.

    Attributes:
        a: (k, 2) x and y.
        b: (k, 2) likewise.
        mirrored: (k, 2), for each point the place in b that a method names if it takes left for right; NaN where there
            is none.
    """

    a: Float[Tensor, "k 2"]
    b: Float[Tensor, "k 2"]
    mirrored: Float[Tensor, "k 2"]

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True)
class ObjectMasks:
    """Where the object of an image is, and where another one is that is not meant: images as bright as they are there.

    Both have the size of the original after its EXIF orientation; values between black and white count in part.

    Attributes:
        object: what is visible of the object.
        other: what is visible of another object, or of what covers the object; None without one.
    """

    object: LazyImage
    other: LazyImage | None = None


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two images whose similarity is explained.

    Attributes:
        a, b: the images.
        group: its class or its photograph; pairs of one group are not independent of each other.
        kind: how it was made, such as the name of a warp; empty for a pair of a class.
        points: known correspondences, if any.
        measured: the image whose heat is measured, and whose cells are removed: "a" or "b".
        masks: of the measured image, if they are known.
    """

    a: LazyImage
    b: LazyImage
    group: str
    kind: str = ""
    points: KnownPoints | None = None
    measured: Literal["a", "b"] = "a"
    masks: ObjectMasks | None = None

    @property
    def measured_image(self) -> LazyImage:
        return self.a if self.measured == "a" else self.b


def pairs_of_classes(collection: Collection, n: int, seed: int = 0) -> list[ImagePair]:
    """Random pairs of images of the same class, of the test split if the collection has one.

    A collection with the splits query and gallery gives pairs of a query, as image a, and a gallery image, as image b;
    the gallery image is the one that is measured.

    Args:
        collection: labelled.
        n: the largest number of pairs; a smaller collection gives each of its ordered pairs once.
        seed: the same seed gives the same pairs.

    Raises:
        DatasetError: no class has two images.
    """
    splits = collection.splits or []
    searched = "test" not in splits and {"query", "gallery"} <= set(splits)
    if "test" in splits:
        collection = collection.subset(i for i, split in enumerate(splits) if split == "test")
    labels = collection.known_labels
    members: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        members[label].append(i)
    classes = [members[label] for label in sorted(members)]
    if searched:
        firsts = [
            ([i for i in each if splits[i] == "query"], [j for j in each if splits[j] == "gallery"]) for each in classes
        ]
    else:
        firsts = [(each, each) for each in classes]
    chosen = _shuffled_pairs(firsts, n, random.Random(seed))
    if not chosen:
        expected = "a query with a gallery image of its class" if searched else "a class with at least two images"
        raise DatasetError(f"{collection.name}: expected {expected}, got none")
    images = {i: file_image(collection, i) for pair in chosen for i in pair}
    side: Literal["a", "b"] = "b" if searched else "a"
    return [ImagePair(images[i], images[j], labels[i], measured=side) for i, j in chosen]


def _shuffled_pairs(
    classes: Sequence[tuple[Sequence[int], Sequence[int]]], n: int, rng: random.Random
) -> list[tuple[int, int]]:
    """Pairs of one of the first and one of the second of a class; each is first once before any is so twice."""
    partners: dict[int, list[int]] = {}
    for firsts, seconds in classes:
        for i in firsts:
            others = [j for j in seconds if j != i]
            partners[i] = rng.sample(others, len(others))
    first = rng.sample(sorted(partners), len(partners))
    chosen: list[tuple[int, int]] = []
    while len(chosen) < n and any(partners.values()):
        chosen.extend((i, partners[i].pop()) for i in first if partners[i])
    return chosen[:n]


def file_image(collection: Collection, i: int) -> LazyImage:
    """Image i of a collection, with all its pixels: warps are computed, and points known, at this size."""
    file = collection.file(i)
    return LazyImage(str(file), lambda: open_image(file))
