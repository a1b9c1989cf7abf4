"""Stability: does an explanation stay the same where the image does, to the eye?"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.explanation.methods.method import Method, MethodResult
from diml.explanation.methods.pixels import embed_pixels, input_pixels
from diml.faithfulness.pairs import Seen
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel

# Standard deviation of the noise, of values 0..255, and the quality of the JPEG.
NOISE, QUALITY = 5.0, 75


def noisy(image: Image.Image, seed: int) -> Image.Image:
    """With Gaussian noise on every value."""
    values = np.asarray(image, dtype=np.float64)
    noise = np.random.default_rng(seed).normal(0.0, NOISE, values.shape)
    return Image.fromarray(np.rint(values + noise).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, seed: int) -> Image.Image:
    """Written as JPEG and read again."""
    stored = io.BytesIO()
    image.save(stored, "JPEG", quality=QUALITY)
    return Image.open(stored).convert("RGB")


def shifted(image: Image.Image, seed: int) -> Image.Image:
    """One pixel to the right and down; the first column and row stay where they are."""
    moved = image.copy()
    moved.paste(image, (1, 1))
    moved.paste(image.crop((0, 0, image.width - 1, 1)), (1, 0))
    moved.paste(image.crop((0, 0, 1, image.height - 1)), (0, 1))
    return moved


CHANGES: Mapping[str, Callable[[Image.Image, int], Image.Image]] = {"noise": noisy, "jpeg": jpeg, "shift": shifted}


def stability(
    model: StructuralModel,
    seen: Sequence[Seen],
    methods: Sequence[Method],
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, dict[str, list[float]]]:
    """Rank correlation of each pair's explanation with the one after a small change of image a.

    Args:
        model: for images in its input size, see `in_input_size`.
        seen: the pairs.
        methods: the heat of image a is compared, or the correspondence of a method without heat.

    Returns:
        By method and change, one of `CHANGES`: a correlation -1..1 for each pair, NaN where an explanation is constant.
    """
    found: dict[str, dict[str, list[float]]] = {m.name: {change: [] for change in CHANGES} for m in methods}
    for at, each in enumerate(seen):
        images = [change(each.image_a, seed + at) for change in CHANGES.values()]
        maps = embed_pixels(model, torch.stack([input_pixels(model, image) for image in images])).to("cpu")
        for method in methods:
            before = _explained(method, model, each, each.image_a, each.maps_a)
            for k, change in enumerate(CHANGES):
                after = _explained(method, model, each, images[k], maps[k])
                found[method.name][change].append(rank_correlation(_numbers(before), _numbers(after)))
        progress(at + 1, len(seen))
    return found


def _explained(
    method: Method, model: StructuralModel, seen: Seen, image: Image.Image, maps: FeatureMaps
) -> MethodResult:
    return method.explain(model, image, seen.image_b, maps, seen.maps_b)


def _numbers(explanation: MethodResult) -> Float[Tensor, " k"]:
    numbers = explanation.heat_a if explanation.heat_a is not None else explanation.correspondence
    assert numbers is not None
    return numbers.flatten().double()


def rank_correlation(a: Float[Tensor, " k"], b: Float[Tensor, " k"]) -> float:
    """Spearman's rank correlation, -1..1, ties at their mean rank; NaN where one of them is constant.

    >>> rank_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0.1, 0.5, 0.6]))
    1.0
    """
    ranks = torch.stack([_ranks(a), _ranks(b)])
    ranks = ranks - ranks.mean(dim=1, keepdim=True)
    scale = float(ranks.square().sum(dim=1).prod().sqrt())
    return float((ranks[0] * ranks[1]).sum()) / scale if scale > 0 else float("nan")


def _ranks(x: Float[Tensor, " k"]) -> Float[Tensor, " k"]:
    _, which, counts = torch.unique(x, return_inverse=True, return_counts=True)
    # Equal values share the middle of the places that they take.
    places: Tensor = counts.cumsum(0).double() - (counts - 1) / 2
    return places[which]
