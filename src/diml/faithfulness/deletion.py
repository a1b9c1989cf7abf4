"""Deletion and insertion: does the similarity follow the cells that an explanation names?"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diml.errors import UsageError
from diml.explanation.methods.pixels import embed_pixels, filling, hidden, input_pixels
from diml.faithfulness.pairs import Seen
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel

# What is recorded along a curve.
MEASURED = ("similarity", "pooled")


@dataclass(frozen=True, eq=False)
class Curves:
    """How the similarity of n pairs falls and rises with the cells of image a, most important first.

    Attributes:
        shares: (k,) share of the cells that are removed, or inserted, 0 to 1.
        deletion: (n, k, 2), the similarity with the first cells hidden: the model's own, and the pooled one.
        insertion: (n, k, 2), the similarity with all but the first cells hidden.
    """

    shares: Float[Tensor, " k"]
    deletion: Float[Tensor, "n k 2"]
    insertion: Float[Tensor, "n k 2"]

    def areas(self, which: str) -> Float[Tensor, "n 2"]:
        """Area under the `deletion` or `insertion` curves, by trapezia: a mean similarity, -1..1."""
        values: Tensor = getattr(self, which)
        return torch.trapezoid(values, self.shares[:, None], dim=1)


def removal_curves(
    model: StructuralModel,
    seen: Sequence[Seen],
    heats: Mapping[str, Sequence[Float[Tensor, "h w"]]],
    *,
    fill: str = "blur",
    steps: int = 8,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Curves]:
    """Hide the cells of image a in the order of their heat, embed what is left, and record the similarity with b.

    RISE's deletion and insertion (Petsiuk, Das, Saenko, BMVC 2018), for a pair and its similarity as in CorrRISE (Lu,
    Xu, Ebrahimi, WACV 2024). A good explanation lets the similarity fall early in deletion, so that the area is small,
    and rise early in insertion, so that it is large. All methods start from the same image and end at the same fill;
    images that several of them ask for are embedded once, and those of different pairs share batches.

    Args:
        model: for images in its input size, see `in_input_size`.
        seen: n pairs.
        heats: by method, one heat of image a for each pair. Ties are broken at random.
        fill: what takes the place of hidden cells, `blur` or `mean`.
        steps: embedded at so many steps, at most as many as there are cells.
        seed: of the ties.

    Raises:
        UsageError: an unknown fill, fewer than 1 step, or heats of another grid.
    """
    filling(fill)
    if steps < 1:
        raise UsageError(f"{steps} steps came; expected at least 1")
    parts = model.grid[0] * model.grid[1]
    counts = torch.linspace(0, parts, min(steps, parts) + 1).round().long()
    orders = {name: _orders(each, parts, seed) for name, each in heats.items()}
    wanted: list[dict[bytes, Tensor]] = [{} for _ in seen]
    for ordered in orders.values():
        for masks, order in zip(wanted, ordered, strict=True):
            masks.update((_key(mask), mask) for mask in (*removed(order, counts), *~removed(order, counts)))
    scores = _scores(model, seen, wanted, fill, batch_size, progress)

    def curve(ordered: Sequence[Tensor], insert: bool) -> Tensor:
        masks = [~removed(order, counts) if insert else removed(order, counts) for order in ordered]
        return torch.stack([torch.stack([scores[p, _key(mask)] for mask in rows]) for p, rows in enumerate(masks)])

    shares = counts.double() / parts
    return {name: Curves(shares, curve(each, False), curve(each, True)) for name, each in orders.items()}


def removed(order: Tensor, counts: Tensor) -> Bool[Tensor, "k r"]:
    """Which cells are among the first `counts` of an order.

    >>> removed(torch.tensor([2, 0, 1]), torch.tensor([0, 1, 3])).int()
    tensor([[0, 0, 0],
            [0, 0, 1],
            [1, 1, 1]], dtype=torch.int32)
    """
    return order.argsort()[None, :] < counts[:, None]


def _orders(heats: Sequence[Tensor], parts: int, seed: int) -> list[Tensor]:
    """The cells of each heat, the hottest first; ties in a random order and not row by row."""
    orders = []
    for at, heat in enumerate(heats):
        if heat.numel() != parts:
            raise UsageError(f"a heat of {heat.numel()} cells came; expected one for each of the model's {parts}")
        shuffled = torch.randperm(parts, generator=torch.Generator().manual_seed(seed + at))
        orders.append(shuffled[heat.flatten()[shuffled].argsort(descending=True, stable=True)])
    return orders


def _key(mask: Tensor) -> bytes:
    return mask.numpy().tobytes()


def _scores(
    model: StructuralModel,
    seen: Sequence[Seen],
    wanted: Sequence[Mapping[bytes, Tensor]],
    fill: str,
    batch_size: int,
    progress: Callable[[int, int], None],
) -> dict[tuple[int, bytes], Float[Tensor, "2"]]:
    """The similarities of every hidden copy with its b."""
    if not seen:
        return {}
    maps_b = FeatureMaps.cat([each.maps_b for each in seen]).to(model.encoder.device)
    total, scores = sum(map(len, wanted)), {}
    copies = _copies(model, seen, wanted, fill)
    while some := list(itertools.islice(copies, batch_size)):
        maps = embed_pixels(model, torch.stack([pixels for _, _, pixels in some]), batch_size)
        pairs = torch.tensor([p for p, _, _ in some])
        found = model.matcher.pairs(maps, maps_b, torch.arange(len(some)), pairs)
        values = torch.stack([found.similarity, found.pooled], dim=1).double().cpu()
        scores.update({(p, key): value for (p, key, _), value in zip(some, values, strict=True)})
        progress(len(scores), total)
    return scores


def _copies(
    model: StructuralModel, seen: Sequence[Seen], wanted: Sequence[Mapping[bytes, Tensor]], fill: str
) -> Iterator[tuple[int, bytes, Tensor]]:
    for p, (each, masks) in enumerate(zip(seen, wanted, strict=True)):
        pixels = input_pixels(model, each.image_a)
        filled = filling(fill)(pixels)
        for key, mask in masks.items():
            yield p, key, hidden(pixels, filled, mask[None], model.grid)[0]
