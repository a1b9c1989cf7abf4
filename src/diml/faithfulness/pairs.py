"""Pairs of images on which explanations are measured, with points that are known to correspond where there are any."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, eq=False)
class ImagePair:
    """Two images whose similarity is explained.

    Attributes:
        a, b: the images.
        group: its class or its photograph; pairs of one group are not independent of each other.
        kind: how it was made, such as the name of a warp; empty for a pair of a class.
        points: known correspondences, if any.
    """

    a: LazyImage
    b: LazyImage
    group: str
    kind: str = ""
    points: KnownPoints | None = None


def pairs_of_classes(collection: Collection, n: int, seed: int = 0) -> list[ImagePair]:
    """Random pairs of images of the same class, of the test split if the collection has one.

    Args:
        collection: labelled.
        n: the largest number of pairs; a smaller collection gives each of its ordered pairs once.
        seed: the same seed gives the same pairs.

    Raises:
        DatasetError: no class has two images.
    """
    if collection.splits is not None and "test" in collection.splits:
        collection = collection.subset(i for i, split in enumerate(collection.splits) if split == "test")
    labels = collection.known_labels
    members: dict[str, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        members[label].append(i)
    chosen = _shuffled_pairs([members[label] for label in sorted(members)], n, random.Random(seed))
    if not chosen:
        raise DatasetError(f"{collection.name}: expected a class with at least two images, got none")
    images = {i: file_image(collection, i) for pair in chosen for i in pair}
    return [ImagePair(images[i], images[j], labels[i]) for i, j in chosen]


def _shuffled_pairs(classes: Sequence[Sequence[int]], n: int, rng: random.Random) -> list[tuple[int, int]]:
    """Every image is the first of a pair once before any is so twice."""
    partners = {i: rng.sample([j for j in each if j != i], len(each) - 1) for each in classes for i in each}
    first = rng.sample(sorted(partners), len(partners))
    chosen: list[tuple[int, int]] = []
    while len(chosen) < n and any(partners.values()):
        chosen.extend((i, partners[i].pop()) for i in first if partners[i])
    return chosen[:n]


def file_image(collection: Collection, i: int) -> LazyImage:
    """Image i of a collection."""
    file = collection.file(i)
    return LazyImage(str(file), lambda: open_image(file))
