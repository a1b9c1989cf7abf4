"""Stability: does an explanation stay the same when the image changes so little that nobody sees it?"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.explanation.methods.method import Method, MethodInput, MethodResult
from diml.explanation.methods.pixels import embed_pixels, input_pixels

# Standard deviation of the noise, for values 0..255, and the quality of the JPEG.
NOISE, QUALITY = 5.0, 75


def noisy(image: Image.Image, seed: int) -> Image.Image:
    """The image with Gaussian noise on every value."""
    values = np.asarray(image, dtype=np.float64)
    noise = np.random.default_rng(seed).normal(0.0, NOISE, values.shape)
    return Image.fromarray(np.rint(values + noise).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, seed: int) -> Image.Image:
    """The image after JPEG compression."""
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=QUALITY)
    return Image.open(stored).convert("RGB")


def shifted(image: Image.Image, seed: int) -> Image.Image:
    """The image moved right and down by one pixel; its first column and row are repeated."""
    moved = image.copy()
    moved.paste(image, (1, 1))
    moved.paste(image.crop((0, 0, image.width - 1, 1)), (1, 0))
    moved.paste(image.crop((0, 0, 1, image.height - 1)), (0, 1))
    return moved


CHANGES: Mapping[str, Callable[[Image.Image, int], Image.Image]] = {"noise": noisy, "jpeg": jpeg, "shift": shifted}


def stability(
    pairs: Sequence[MethodInput],
    methods: Sequence[Method],
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, list[float]]]:
    """Rank correlation of the explanations of each pair before and after a small change of image a.

    Args:
        pairs: two images each, in the model's input size.
        methods: the heat of image a is compared, or the correspondence of a method without heat.
        seed: of the noise.
        progress: called with the numbers of pairs done and of all pairs.

    Returns:
        By method and change (one of `CHANGES`) a correlation in -1..1 for each pair; NaN for a constant explanation.
    """
    found: dict[str, dict[str, list[float]]] = {m.name: {change: [] for change in CHANGES} for m in methods}
    for at, pair in enumerate(pairs):
        changed = _changed(pair, seed + at)
        for method in methods:
            before = _numbers(method.explain(pair))
            for change, other in changed.items():
                found[method.name][change].append(rank_correlation(before, _numbers(method.explain(other))))
        progress(at + 1, len(pairs))
    return found


def _changed(pair: MethodInput, seed: int) -> dict[str, MethodInput]:
    """The pair after each of `CHANGES`."""
    images = [change(pair.image_a, seed) for change in CHANGES.values()]
    pixels = torch.stack([input_pixels(pair.model, image) for image in images])
    maps = embed_pixels(pair.model, pixels).to("cpu")
    return {name: replace(pair, image_a=images[k], maps_a=maps[k]) for k, name in enumerate(CHANGES)}


def _numbers(result: MethodResult) -> Float[Tensor, " k"]:
    numbers = result.heat_a if result.heat_a is not None else result.correspondence
    assert numbers is not None
    return numbers.flatten().double()


def rank_correlation(a: Float[Tensor, " k"], b: Float[Tensor, " k"]) -> float:
    """Spearman's rank correlation, -1..1, with ties at their mean rank; NaN if one of the two is constant.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.1, 0.5, 0.6]))
    1.0
    """
    ranks = torch.stack([_ranks(a), _ranks(b)])
    ranks = ranks - ranks.mean(dim=1, keepdim=True)
    scale = float(ranks.square().sum(dim=1).prod().sqrt())
    return float((ranks[0] * ranks[1]).sum()) / scale if scale > 0 else float("nan")


def _ranks(x: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    _, which, counts = torch.unique(x, return_inverse=True, return_counts=True)
    # Equal values share the mean of the ranks that they take.
    places: Tensor = counts.cumsum(0).double() - (counts - 1) / 2
    return places[which]
