"""The encoder: images in, feature maps out."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from diml.embedding.inference import Inference
from diml.embedding.preprocessing import Pixels, Preprocessing
from diml.embedding.resampling import RESAMPLINGS
from diml.errors import ImageError, ModelError, UsageError
from diml.feature_maps import FeatureMaps, Geometry

Source = TypeVar("Source")
# Batches that are decoded ahead of the model: enough to hide a slow file, and few enough to limit the memory.
AHEAD = 2


@dataclass(frozen=True)
class Batch:
    """A batch of a stream of images.

    Attributes:
        indices: positions of the embedded images in the stream.
        maps: their feature maps, with geometry.
        kept: the result of `keep` for each decoded image; None for each without `keep`.
        failures: position and error of each image that could not be read.
    """

    indices: list[int]
    maps: FeatureMaps
    kept: list[Any] = field(default_factory=list)
    failures: list[tuple[int, ImageError]] = field(default_factory=list)


class Encoder(nn.Module):
    """A backbone, resampling to the matching grid, and an affine head, in this order.

    Args:
        backbone: any module from pixels (n, 3, H, W) to a map (n, c, h, w), or to a map and its own pooled vector
            (n, c), which is then used in place of the mean.
        preprocessing: how images become the backbone's input.
        head: a linear layer from the channels to the embedding, or None for the channels themselves.
        grid: rows and columns of the matching grid, up to the backbone's own.
        resampling: name of the resampling to that grid, see `RESAMPLINGS`.
        weights: how much each part counts: a module from parts (n, r, d), after the head, to weights (n, r) >= 0, see
            `diml.embedding.part_weights`; None if all count the same.
        inference: runs the backbone where no gradient is needed; by default what is fastest here, see `Inference`.

    >>> import torch
    >>> encoder = Encoder(torch.nn.Conv2d(3, 5, 32, 32), Preprocessing(size=(224, 224)), grid=(4, 4))
    >>> encoder(torch.zeros(2, 3, 224, 224))
    FeatureMaps(n=2, grid=4x4, dim=5, torch.float32, cpu)
    """

    def __init__(
        self,
        backbone: nn.Module,
        preprocessing: Preprocessing,
        head: nn.Linear | None = None,
        grid: tuple[int, int] = (4, 4),
        resampling: str = "area",
        weights: nn.Module | None = None,
        inference: Inference | None = None,
    ) -> None:
        super().__init__()
        if resampling not in RESAMPLINGS:
            raise UsageError(f"expected resampling to be one of {', '.join(RESAMPLINGS)}, got {resampling!r}")
        if min(grid) < 1:
            raise UsageError(f"expected a grid of at least 1x1, got {grid[0]}x{grid[1]}")
        self.backbone = backbone
        self.preprocessing = preprocessing
        self.head = head
        self.grid = (int(grid[0]), int(grid[1]))
        self.resampling = resampling
        self.weights = weights
        self.inference = inference or Inference()

    def forward(self, pixels: Float[Tensor, "n 3 H W"]) -> FeatureMaps:
        """Normalised pixels to maps; differentiable.

        A half precision model gives float32 maps: only its backbone computes in half precision.
        """
        return self._maps(*self._features(self.backbone, pixels))

    def _maps(self, features: Tensor, pooled: Tensor | None) -> FeatureMaps:
        height, width = features.shape[2:]
        if self.grid[0] > height or self.grid[1] > width:
            raise UsageError(
                f"expected a grid of at most {height}x{width}, the map of the backbone, got "
                f"{self.grid[0]}x{self.grid[1]}"
            )
        local = RESAMPLINGS[self.resampling](features, self.grid).flatten(2).mT
        if pooled is None and self.resampling != "area":
            pooled = features.mean(dim=(2, 3))
        maps = self.finished(FeatureMaps(local, self.grid, pooled))
        return maps.replace(local=maps.local.contiguous())

    def finished(self, maps: FeatureMaps) -> FeatureMaps:
        """Apply the head and the weights to maps of the backbone's channels; differentiable.

        The head is affine, so it may be applied after the resampling to the grid. The result has the weights of this
        encoder, whatever weights the maps had.

        >>> raw = Encoder(nn.Conv2d(3, 5, 32, 32), Preprocessing(), grid=(4, 4))
        >>> encoder = raw.replace(head=nn.Linear(5, 2))
        >>> pixels = torch.rand(1, 3, 224, 224)
        >>> torch.allclose(encoder.finished(raw(pixels)).local, encoder(pixels).local)
        True
        """
        if self.head is not None:
            pooled = None if maps.own_pooled is None else _linear(self.head, maps.own_pooled)
            maps = maps.replace(local=_linear(self.head, maps.local), pooled=pooled)
        if self.weights is None:
            return maps if maps.weights is None else maps.replace(weights=None)
        with torch.autocast(maps.device.type, enabled=False):
            weights: Tensor = self.weights(maps.local)
        # Whoever reads the maps reports values that are not finite; these must not fail here, as weights.
        broken = ~torch.isfinite(maps.local.detach()).flatten(1).all(dim=1, keepdim=True)
        return maps.replace(weights=weights.masked_fill(broken, 0))

    def replace(self, **changes: Any) -> Encoder:
        """An encoder that shares all modules and has some arguments of the constructor changed.

        >>> encoder = Encoder(nn.Conv2d(3, 5, 32, 32), Preprocessing(), grid=(4, 4))
        >>> encoder.replace(grid=(2, 2)).grid
        (2, 2)
        """
        names = ("backbone", "preprocessing", "head", "grid", "resampling", "weights", "inference")
        return Encoder(**{**{name: getattr(self, name) for name in names}, **changes})

    @property
    def device(self) -> torch.device:
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """What the backbone computes in: the dtype of its first parameter, float32 where it has none."""
        return next((p.dtype for p in self.backbone.parameters() if p.is_floating_point()), torch.float32)

    @property
    @torch.no_grad()
    def channels(self) -> int:
        """The number of the backbone's channels, found with a blank image."""
        blank = torch.zeros(1, 3, *self.preprocessing.size, device=self.device)
        features, _ = self._features(self.backbone, blank)
        return features.shape[1]

    def features(self, pixels: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n c h w"]:
        """Normalised pixels to the backbone's own map, before resampling and head; differentiable."""
        return self._features(self.backbone, pixels.to(self.device))[0]

    def _features(self, run: Callable[[Tensor], Any], pixels: Float[Tensor, "n 3 H W"]) -> tuple[Tensor, Tensor | None]:
        features, pooled = _map_and_pooled(run(pixels.to(self.dtype)))
        if self.dtype in (torch.float16, torch.bfloat16):
            return features.float(), None if pooled is None else pooled.float()
        return features, pooled

    def stream(
        self,
        images: Iterable[Source],
        read: Callable[[Source], Image.Image | Tensor],
        *,
        batch_size: int = 32,
        workers: int | None = None,
        keep: Callable[[Image.Image], Any] | None = None,
    ) -> Iterator[Batch]:
        """Embed a stream of images in order, while threads decode the next ones.

        Args:
            images: whatever `read` accepts.
            read: opens one image, as PIL (RGB, upright) or as a tensor (3, H, W) of uint8 0..255 or floats 0..1; runs
                in the decoding threads, and raises ImageError for an image that cannot be read.
            batch_size: images per pass of the backbone.
            workers: decoding threads; by default as many as cores, at most 8.
            keep: called with each decoded PIL image (RGB, upright) in the decoding thread, to make a thumbnail, say.

        Yields:
            Batch: images that cannot be read are listed in its `failures` instead of raising.
        """
        if batch_size < 1:
            raise UsageError(f"expected batch_size >= 1, got {batch_size}")
        self.eval()
        with ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), thread_name_prefix="diml-decode") as pool:

            def ready(source: Source) -> tuple[Pixels, Any] | ImageError:
                try:
                    image = read(source)
                    kept = keep(image) if keep is not None and isinstance(image, Image.Image) else None
                    return self.preprocessing(image), kept
                except ImageError as error:
                    return error

            decoded = _ahead(pool, ready, images, AHEAD * batch_size)
            for group in _batched(decoded, batch_size):
                yield self._embed(group)

    def prepare(self) -> None:
        """Get ready for many images now, rather than once some have come; for a service."""
        noise = torch.rand(2, 3, *self.preprocessing.size, generator=torch.Generator().manual_seed(0))
        self.inference.prepare(self.backbone, self.preprocessing.normalise(noise.to(self.device)).to(self.dtype))

    @torch.no_grad()
    def embed(self, pixels: Sequence[Pixels]) -> FeatureMaps:
        """Feature maps of images that are preprocessed already, in one pass: float32, with geometry, without gradient.

        Args:
            pixels: of n >= 1 images, as `preprocessing` gives them.

        Raises:
            ModelError: the model returned NaN or infinite features.

        >>> encoder = Encoder(nn.Conv2d(3, 5, 32, 32), Preprocessing(), grid=(4, 4)).eval()
        >>> image = Image.new("RGB", (64, 48), "red")
        >>> encoder.embed([encoder.preprocessing(image)]).geometry.size
        tensor([[64, 48]])
        """
        values = [each.values for each in pixels]
        if len({v.dtype for v in values}) > 1:
            values = [v.float() / 255 if v.dtype == torch.uint8 else v for v in values]
        normalised = self.preprocessing.normalise(self._on_device(torch.stack(values)))
        maps = self._maps(*self._features(partial(self.inference, self.backbone), normalised))
        if not torch.isfinite(maps.local).all():
            raise ModelError("the model returned NaN or infinite features; check its weights and its precision")
        geometry = Geometry(
            torch.tensor([each.size for each in pixels]),
            torch.tensor([each.visible for each in pixels], dtype=torch.float64),
        )
        return maps.replace(geometry=geometry).to(torch.float32)

    def _on_device(self, values: Tensor) -> Tensor:
        """Copied to a GPU from pinned memory, which does not wait for what the GPU still computes."""
        device = self.device
        return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)

    @torch.no_grad()
    def _embed(self, group: list[tuple[int, tuple[Pixels, Any] | ImageError]]) -> Batch:
        read = [(index, item) for index, item in group if not isinstance(item, ImageError)]
        failures = [(index, item) for index, item in group if isinstance(item, ImageError)]
        if not read:
            return Batch([], self._empty(), [], failures)
        maps = self.embed([item[0] for _, item in read])
        return Batch([index for index, _ in read], maps, [item[1] for _, item in read], failures)

    @torch.no_grad()
    def _empty(self) -> FeatureMaps:
        """Feature maps of no images, with the model's grid and dim."""
        one: FeatureMaps = self(torch.zeros(1, 3, *self.preprocessing.size, device=self.device))
        geometry = Geometry(torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.float64))
        return one.replace(geometry=geometry)[:0].to(torch.float32)


def _linear(head: nn.Linear, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n d"]:
    """Apply the head in the precision of x, whatever the precision of its weights."""
    if head.weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type):
        return head(x)  # type: ignore[no-any-return]
    return F.linear(x, head.weight.to(x), None if head.bias is None else head.bias.to(x))


def _map_and_pooled(output: Any) -> tuple[Tensor, Tensor | None]:
    features, pooled = output if isinstance(output, tuple) else (output, None)
    if not isinstance(features, Tensor) or features.ndim != 4:
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ModelError(
            f"expected a map (n, c, h, w), or a map and a pooled vector (n, c), from the backbone, got {got}"
        )
    return features, pooled


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Source], Any], items: Iterable[Source], ahead: int
) -> Iterator[Any]:
    """Results in order, with at most `ahead` items running or waiting."""
    waiting: deque[Future[Any]] = deque()
    remaining = iter(items)
    try:
        for item in remaining:
            waiting.append(pool.submit(work, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _batched(items: Iterable[Any], size: int) -> Iterator[list[tuple[int, Any]]]:
    numbered = enumerate(items)
    while group := list(itertools.islice(numbered, size)):
        yield group
