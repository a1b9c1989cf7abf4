"""Pairs of images on which explanations are measured, with points that are known to correspond where there are any."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.data import Collection, open_image
from diml.errors import DatasetError
from diml.explanation.methods.pixels import in_input_size
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True)
class Picture:
    """An image that can be read: a file, or what is made of one.

    Attributes:
        name: tells it from all others; shown where it cannot be read.
        read: gives it as RGB, upright.
    """

    name: str
    read: Callable[[], Image.Image]


@dataclass(frozen=True, eq=False)
class Points:
    """k points of image a and their counterparts in image b, in pixels of the originals.

    Attributes:
        a: (k, 2) x and y.
        b: (k, 2) likewise.
        twins: (k, 2) where in b a counterpart would lie that is wrong by left and right; NaN where there is none.
    """

    a: Float[Tensor, "k 2"]
    b: Float[Tensor, "k 2"]
    twins: Float[Tensor, "k 2"]

    def __len__(self) -> int:
        return len(self.a)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two pictures to explain.

    Attributes:
        a, b: the pictures.
        group: what it shares with pairs that are not independent of it: its class, or its photograph.
        kind: what was done to make it, such as the name of a warp; empty for a pair of a class.
        points: known correspondences, if any.
    """

    a: Picture
    b: Picture
    group: str
    kind: str = ""
    points: Points | None = None


@dataclass(frozen=True, eq=False)
class Seen:
    """A pair as the model sees it: images in its input size, and their maps, n = 1 each.

    Attributes:
        pair: what it was.
        image_a, image_b: RGB in the model's input size.
        maps_a, maps_b: on the CPU.
        points: known correspondences in pixels of these images, if any; those that a crop cut off are left out.
    """

    pair: Pair
    image_a: Image.Image
    image_b: Image.Image
    maps_a: FeatureMaps
    maps_b: FeatureMaps
    points: Points | None


def pairs_of_classes(collection: Collection, n: int, seed: int = 0) -> list[Pair]:
    """Pairs of images of the same class, at random but the same for the same seed; of the test half where there is one.

    Args:
        collection: labelled.
        n: how many at most; a collection with fewer gives all that it has, each ordered pair once.

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
        raise DatasetError(f"{collection.name}: no class has two images; explanations are measured on pairs of a class")
    pictures = {i: file_picture(collection, i) for pair in chosen for i in pair}
    return [Pair(pictures[i], pictures[j], labels[i]) for i, j in chosen]


def _shuffled_pairs(classes: Sequence[Sequence[int]], n: int, chance: random.Random) -> list[tuple[int, int]]:
    """Every image once as the first of a pair before any is so twice."""
    partners = {i: chance.sample([j for j in each if j != i], len(each) - 1) for each in classes for i in each}
    first = chance.sample(sorted(partners), len(partners))
    chosen: list[tuple[int, int]] = []
    while len(chosen) < n and any(partners.values()):
        chosen.extend((i, partners[i].pop()) for i in first if partners[i])
    return chosen[:n]


def file_picture(collection: Collection, i: int) -> Picture:
    file = collection.file(i)
    return Picture(str(file), lambda: open_image(file))


def see(
    model: StructuralModel,
    pairs: Sequence[Pair],
    batch_size: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[Seen], list[tuple[str, str]]]:
    """Read and embed the pictures of these pairs, each once.

    Returns:
        What the model sees of the pairs, and name and reason of the pictures that cannot be read; a pair of which one
        cannot be read is left out.
    """
    pictures = {picture.name: picture for pair in pairs for picture in (pair.a, pair.b)}
    frames = _Frames(model)
    images: dict[str, Image.Image] = {}
    maps: dict[str, FeatureMaps] = {}
    failed: list[tuple[str, str]] = []
    names = list(pictures)
    whole = in_input_size(model)
    stream = whole.encoder.stream(pictures.values(), frames.read, batch_size=batch_size, keep=lambda image: image)
    done = 0
    for batch in stream:
        failed.extend((names[at], str(error)) for at, error in batch.failures)
        for k, at in enumerate(batch.indices):
            images[names[at]] = batch.kept[k]
            maps[names[at]] = batch.maps[k].to("cpu")
        done += len(batch.indices) + len(batch.failures)
        progress(done, len(names))
    return [
        Seen(pair, images[pair.a.name], images[pair.b.name], maps[pair.a.name], maps[pair.b.name], frames.points(pair))
        for pair in pairs
        if pair.a.name in images and pair.b.name in images
    ], failed


class _Frames:
    """Brings pictures, and points in them, into the model's input size."""

    def __init__(self, model: StructuralModel) -> None:
        self.preprocessing = model.encoder.preprocessing
        self.visible: dict[str, tuple[float, float, float, float]] = {}

    def read(self, picture: Picture) -> Image.Image:
        pixels = self.preprocessing(picture.read())
        self.visible[picture.name] = pixels.visible
        return Image.fromarray(pixels.values.permute(1, 2, 0).contiguous().numpy())

    def points(self, pair: Pair) -> Points | None:
        if pair.points is None:
            return None
        a = self._within(pair.points.a, pair.a)
        b, twins = self._within(pair.points.b, pair.b), self._within(pair.points.twins, pair.b)
        height, width = self.preprocessing.size
        size = torch.tensor([width, height], dtype=torch.float64)
        inside = torch.stack([(p >= 0) & (p < size) for p in (a, b)]).all(dim=0).all(dim=1)
        return Points(a[inside], b[inside], twins[inside])

    def _within(self, points: Float[Tensor, "k 2"], picture: Picture) -> Float[Tensor, "k 2"]:
        x0, y0, x1, y1 = self.visible[picture.name]
        height, width = self.preprocessing.size
        start, span = torch.tensor([x0, y0], dtype=torch.float64), torch.tensor([x1 - x0, y1 - y0], dtype=torch.float64)
        return (points.double() - start) / span * torch.tensor([width, height], dtype=torch.float64)
