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
from diml.faithfulness.embedded_pairs import EmbeddedPair
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel

# What is recorded along a curve.
MEASURED = ("similarity", "pooled")


@dataclass(frozen=True, eq=False)
class RemovalCurves:
    """How the similarity of n pairs falls and rises as cells of one image are removed or inserted, hottest first.

    Attributes:
        shares: (k,) share of the cells that are removed or inserted, 0 to 1.
        deletion: (n, k, 2), the similarity and the pooled similarity with the first cells hidden.
        insertion: (n, k, 2), the same with all but the first cells hidden.
    """

    shares: Float[Tensor, " k"]
    deletion: Float[Tensor, "n k 2"]
    insertion: Float[Tensor, "n k 2"]

    def areas(self, which: str) -> Float[Tensor, "n 2"]:
        """Area under the `deletion` or `insertion` curves, by the trapezoidal rule: a mean similarity, -1..1."""
        values: Tensor = getattr(self, which)
        return torch.trapezoid(values, self.shares[:, None], dim=1)


def removal_curves(
    model: StructuralModel,
    pairs: Sequence[EmbeddedPair],
    heats: Mapping[str, Sequence[Float[Tensor, "h w"]]],
    *,
    fill: str = "blur",
    steps: int = 8,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, RemovalCurves]:
    """Hide the cells of the measured image in the order of their heat, and record the similarity of what is left.

    RISE's deletion and insertion (Petsiuk, Das, Saenko, BMVC 2018), for the similarity of a pair as in CorrRISE (Lu,
    Xu, Ebrahimi, WACV 2024). With a good explanation the similarity falls early in deletion, so that the area is small,
    and rises early in insertion, so that it is large. All methods start from the same image and end at the same fill.
    Images that several methods share are embedded once, and images of different pairs share batches.

    Args:
        model: for images in its input size, see `in_input_size`.
        pairs: n pairs.
        heats: by method, one heat of the measured image for each pair. Ties are broken at random.
        fill: what replaces hidden cells, `blur` or `mean`.
        steps: number of steps at which images are embedded, at least 1 and at most the number of cells.
        batch_size: images per pass of the model.
        seed: of the ties.
        progress: called with the numbers of images done and of all images.

    Returns:
        The curves by method.

    Raises:
        UsageError: an unknown fill, `steps` < 1, or heats of another grid.
    """
    filling(fill)
    if steps < 1:
        raise UsageError(f"expected steps >= 1, got {steps}")
    parts = model.grid[0] * model.grid[1]
    counts = torch.linspace(0, parts, min(steps, parts) + 1).round().long()
    orders = {name: _orders(each, parts, seed) for name, each in heats.items()}
    wanted: list[dict[bytes, Tensor]] = [{} for _ in pairs]
    for ordered in orders.values():
        for masks, order in zip(wanted, ordered, strict=True):
            masks.update((_key(mask), mask) for mask in (*removed(order, counts), *~removed(order, counts)))
    scores = _scores(model, pairs, wanted, fill, batch_size, progress)

    def curve(ordered: Sequence[Tensor], insert: bool) -> Tensor:
        masks = [~removed(order, counts) if insert else removed(order, counts) for order in ordered]
        return torch.stack([torch.stack([scores[p, _key(mask)] for mask in rows]) for p, rows in enumerate(masks)])

    shares = counts.double() / parts
    return {name: RemovalCurves(shares, curve(each, False), curve(each, True)) for name, each in orders.items()}


def removed(order: Tensor, counts: Tensor) -> Bool[Tensor, "k r"]:
    """(k, r): which cells are among the first `counts` of an order.

    >>> removed(torch.tensor([2, 0, 1]), torch.tensor([0, 1, 3])).int()
    tensor([[0, 0, 0],
            [0, 0, 1],
            [1, 1, 1]], dtype=torch.int32)
    """
    return order.argsort()[None, :] < counts[:, None]


def _orders(heats: Sequence[Tensor], parts: int, seed: int) -> list[Tensor]:
    """The cells of each heat, the hottest first; ties in random order rather than row by row."""
    orders = []
    for at, heat in enumerate(heats):
        if heat.numel() != parts:
            raise UsageError(f"expected heats of the model's {parts} cells, got one of {heat.numel()}")
        shuffled = torch.randperm(parts, generator=torch.Generator().manual_seed(seed + at))
        orders.append(shuffled[heat.flatten()[shuffled].argsort(descending=True, stable=True)])
    return orders


def _key(mask: Tensor) -> bytes:
    return mask.numpy().tobytes()


def _scores(
    model: StructuralModel,
    pairs: Sequence[EmbeddedPair],
    wanted: Sequence[Mapping[bytes, Tensor]],
    fill: str,
    batch_size: int,
    progress: Callable[[int, int], None],
) -> dict[tuple[int, bytes], Float[Tensor, "2"]]:
    """The similarity and the pooled similarity of every copy with the other image of its pair, by pair and mask."""
    if not pairs:
        return {}
    others = FeatureMaps.cat([each.other_maps for each in pairs]).to(model.encoder.device)
    total, scores = sum(map(len, wanted)), {}
    copies = _copies(model, pairs, wanted, fill)
    while some := list(itertools.islice(copies, batch_size)):
        maps = embed_pixels(model, torch.stack([pixels for _, _, pixels in some]), batch_size)
        for side in ("a", "b"):
            at = [k for k, (p, _, _) in enumerate(some) if pairs[p].pair.measured == side]
            if at:
                copy, of = torch.tensor(at), torch.tensor([some[k][0] for k in at])
                scorer = model.matcher.pairs
                # A one-sided transport asks whether a is in b, so the sides are not exchanged.
                found = scorer(maps, others, copy, of) if side == "a" else scorer(others, maps, of, copy)
                values = torch.stack([found.similarity, found.pooled], dim=1).double().cpu()
                scores.update({some[k][:2]: value for k, value in zip(at, values, strict=True)})
        progress(len(scores), total)
    return scores


def _copies(
    model: StructuralModel, pairs: Sequence[EmbeddedPair], wanted: Sequence[Mapping[bytes, Tensor]], fill: str
) -> Iterator[tuple[int, bytes, Tensor]]:
    """Every measured image with each of its masks hidden."""
    for p, (each, masks) in enumerate(zip(pairs, wanted, strict=True)):
        pixels = input_pixels(model, each.measured_pixels)
        filled = filling(fill)(pixels)
        for key, mask in masks.items():
            yield p, key, hidden(pixels, filled, mask[None], model.grid)[0]
