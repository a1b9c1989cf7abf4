"""Pairs of images as a model sees them: cropped and resized to its input size, and embedded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.errors import ImageError, UsageError
from diml.explanation.methods.method import MethodInput, MethodResult
from diml.explanation.methods.pixels import in_input_size
from diml.faithfulness.object_heat import CellMasks
from diml.faithfulness.pairs import ImagePair, KnownPoints, LazyImage
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True, eq=False)
class EmbeddedPair:
    """A pair of images, ready to be explained.

    Attributes:
        pair: the original images.
        given: what an explanation method gets: the images in the model's input size and their maps, on the CPU.
        points: known correspondences in pixels of `given`, if any; those that a crop cut off are left out.
        masks: what the cells of the measured image show, if it is known.
    """

    pair: ImagePair
    given: MethodInput
    points: KnownPoints | None
    masks: CellMasks | None = None

    @property
    def measured_pixels(self) -> Image.Image:
        return self.given.image_a if self.pair.measured == "a" else self.given.image_b

    @property
    def other_maps(self) -> FeatureMaps:
        """The maps of the image that is not measured."""
        return self.given.maps_b if self.pair.measured == "a" else self.given.maps_a

    def measured_heat(self, result: MethodResult) -> Float[Tensor, "h w"] | None:
        """The heat of the measured image; None where the method gives none for it."""
        return result.heat_a if self.pair.measured == "a" else result.heat_b


def embed_pairs(
    model: StructuralModel,
    pairs: Sequence[ImagePair],
    batch_size: int = 32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[EmbeddedPair], list[tuple[str, str]]]:
    """Read and embed the images of these pairs, each once.

    Returns:
        The embedded pairs, and name and reason of the images and masks that cannot be read or do not fit their image;
        their pairs are left out.
    """
    images = {image.name: image for pair in pairs for image in (pair.a, pair.b)}
    names = list(images)
    frames = _Frames(model)
    pixels: dict[str, Image.Image] = {}
    maps: dict[str, FeatureMaps] = {}
    failed: list[tuple[str, str]] = []
    whole = in_input_size(model)
    stream = whole.encoder.stream(images.values(), frames.read, batch_size=batch_size, keep=lambda image: image)
    done = 0
    for batch in stream:
        failed.extend((names[at], str(error)) for at, error in batch.failures)
        for k, at in enumerate(batch.indices):
            pixels[names[at]] = batch.kept[k]
            maps[names[at]] = batch.maps[k].to("cpu")
        done += len(batch.indices) + len(batch.failures)
        progress(done, len(names))
    embedded = []
    for pair in pairs:
        a, b = pair.a.name, pair.b.name
        if a in pixels and b in pixels:
            given = MethodInput(whole, pixels[a], pixels[b], maps[a], maps[b])
            try:
                embedded.append(EmbeddedPair(pair, given, frames.points(pair), frames.masks(pair, model.grid)))
            except (ImageError, UsageError) as error:
                assert pair.masks is not None
                failed.append((pair.masks.object.name, str(error)))
    return embedded, failed


class _Frames:
    """Brings images, and points in them, into the model's input size."""

    def __init__(self, model: StructuralModel) -> None:
        self.preprocessing = model.encoder.preprocessing
        self.visible: dict[str, tuple[float, float, float, float]] = {}
        self.size: dict[str, tuple[int, int]] = {}

    def read(self, image: LazyImage) -> Image.Image:
        pixels = self.preprocessing(image.read())
        self.visible[image.name], self.size[image.name] = pixels.visible, pixels.size
        return Image.fromarray(pixels.values.permute(1, 2, 0).contiguous().numpy())

    def points(self, pair: ImagePair) -> KnownPoints | None:
        if pair.points is None:
            return None
        a = self._within(pair.points.a, pair.a)
        b, mirrored = self._within(pair.points.b, pair.b), self._within(pair.points.mirrored, pair.b)
        height, width = self.preprocessing.size
        size = torch.tensor([width, height], dtype=torch.float64)
        inside = torch.stack([(p >= 0) & (p < size) for p in (a, b)]).all(dim=0).all(dim=1)
        return KnownPoints(a[inside], b[inside], mirrored[inside])

    def masks(self, pair: ImagePair, grid: tuple[int, int]) -> CellMasks | None:
        if pair.masks is None:
            return None
        name, other = pair.measured_image.name, pair.masks.other
        mask = pair.masks.object.read()
        return CellMasks.of(grid, self.visible[name], self.size[name], mask, None if other is None else other.read())

    def _within(self, points: Float[Tensor, "k 2"], image: LazyImage) -> Float[Tensor, "k 2"]:
        x0, y0, x1, y1 = self.visible[image.name]
        height, width = self.preprocessing.size
        start, span = torch.tensor([x0, y0], dtype=torch.float64), torch.tensor([x1 - x0, y1 - y0], dtype=torch.float64)
        return (points.double() - start) / span * torch.tensor([width, height], dtype=torch.float64)
