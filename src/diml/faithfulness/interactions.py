"""Interactions: which pairs of cells make two images similar, found by hiding cells, whatever the model computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from diml.errors import UsageError
from diml.explanation.methods.method import MethodInput
from diml.explanation.methods.pixels import embed_pixels, filling, hidden, input_pixels
from diml.faithfulness.embedded_pairs import EmbeddedPair
from diml.feature_maps import FeatureMaps

# Subsets for each cell of a grid. Half of them, in pairs with their complements, then hold two pairs for each cell, so
# that the halves can be fitted as well.
SUBSETS_PER_CELL = 8


@dataclass(frozen=True, eq=False)
class Interactions:
    """The best account of a similarity by cells and pairs of cells, one of each image.

    Attributes:
        pairs: (r_a, r_b), the Banzhaf interaction of each pair: how much more the similarity gains from showing both of
            its cells than from showing each alone, the mean over all ways to show the other cells.
        cells_a, cells_b: (r_a,) and (r_b,), the Banzhaf value of each cell: what showing it adds, the mean over all
            ways to show the others.
    """

    pairs: Float[Tensor, "r_a r_b"]
    cells_a: Float[Tensor, " r_a"]
    cells_b: Float[Tensor, " r_b"]


def interactions(
    similarities: Float[Tensor, "n m"], shown_a: Bool[Tensor, "n r_a"], shown_b: Bool[Tensor, "m r_b"]
) -> Interactions:
    """Fit the similarity of n copies of image a and m copies of image b, each showing some of its cells.

    With `x_i = 1` where cell i of a is shown and -1 where it is hidden, and y_j likewise for b, it fits `c_00 + sum_i
    c_i0 x_i + sum_j c_0j y_j + sum_ij c_ij x_i y_j` by least squares. `4 c_ij` is the coefficient of the product `z_i
    w_j` of zeros and ones. Where all cells are shown with probability 1/2, independently, the products are orthogonal,
    and it estimates the Banzhaf interaction index `4 E[s x_i y_j]` (Grabisch, Roubens 1999); `2 c_i0` estimates the
    Banzhaf value. All subsets give both exactly. Interactions within one image are orthogonal to these and left out.

    This is the regression of FIxLIP (Baniecki et al., NeurIPS 2025) at probability 1/2, for two images: all copies of a
    are compared with all of b, so that n + m images are embedded for n m similarities.

    Args:
        similarities: (n, m).
        shown_a: (n, r_a), which cells each copy of a shows.
        shown_b: (m, r_b), likewise for b.

    >>> both = torch.tensor([[False], [True]])
    >>> interactions(torch.tensor([[0.0, 0.0], [0.0, 1.0]]), both, both).pairs.round(decimals=6)
    tensor([[1.]], dtype=torch.float64)
    """
    left, right = _design(shown_a), _design(shown_b)
    # The design of the products is the Kronecker product of both, and so is its pseudo-inverse.
    c = torch.linalg.pinv(left) @ similarities.double() @ torch.linalg.pinv(right).mT
    return Interactions(4 * c[1:, 1:], 2 * c[1:, 0], 2 * c[0, 1:])


def _design(shown: Bool[Tensor, "n r"]) -> Float[Tensor, "n r1"]:
    signs = 2 * shown.double() - 1
    return torch.cat([torch.ones_like(signs[:, :1]), signs], dim=1)


def paired_subsets(n: int, parts: int, generator: torch.Generator) -> Bool[Tensor, "n parts"]:
    """n random subsets of the cells, each cell in it with probability 1/2, every second one the complement of the last.

    With complements, products of an odd number of signs are exactly orthogonal to those of an even number, so that
    interactions within one image do not disturb the values of its cells.
    """
    half = torch.rand(n // 2, parts, generator=generator) < 0.5
    return torch.stack([half, ~half], dim=1).reshape(-1, parts)


@dataclass(frozen=True, eq=False)
class Reference:
    """Interactions of one pair of images from many subsets of each, and from each half of these subsets alone."""

    subsets: int
    whole: Interactions
    halves: tuple[Interactions, Interactions]


def reference_interactions(
    pairs: Sequence[EmbeddedPair],
    *,
    fill: str = "blur",
    subsets: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Reference]:
    """The interactions of each pair of images, by the similarity of the pair's own model.

    Args:
        pairs: n pairs.
        fill: what replaces hidden cells, `blur` or `mean`.
        subsets: of the cells of each image, a multiple of 4; by default `SUBSETS_PER_CELL` for each cell.
        batch_size: images per pass of the model.
        seed: of the subsets.
        progress: called with the numbers of pairs done and of all pairs.

    Raises:
        UsageError: an unknown fill, or not as many subsets as the halves need.
    """
    filling(fill)
    found = []
    for at, each in enumerate(pairs):
        generator = torch.Generator().manual_seed(seed + at)
        parts_a, parts_b = each.given.maps_a.parts, each.given.maps_b.parts
        count = SUBSETS_PER_CELL * max(parts_a, parts_b) if subsets is None else subsets
        check_subset_count(count, max(parts_a, parts_b))
        shown_a, shown_b = (paired_subsets(count, parts, generator) for parts in (parts_a, parts_b))
        scores = shown_similarities(each.given, shown_a, shown_b, fill, batch_size)
        half = slice(None, count // 2), slice(count // 2, None)
        first, second = (interactions(scores[rows, rows], shown_a[rows], shown_b[rows]) for rows in half)
        found.append(Reference(count, interactions(scores, shown_a, shown_b), (first, second)))
        progress(at + 1, len(pairs))
    return found


def check_subset_count(subsets: int, parts: int) -> None:
    """Refuse a number of subsets that is no multiple of 4, or fewer than `SUBSETS_PER_CELL` for each cell.

    Raises:
        UsageError: as described.
    """
    if subsets % 4 or subsets < SUBSETS_PER_CELL * parts:
        raise UsageError(
            f"expected a multiple of 4 and at least {SUBSETS_PER_CELL} subsets for each of the {parts} cells, so "
            f"{SUBSETS_PER_CELL * parts} or more, got {subsets}; leave the number out, or use a coarser grid"
        )


def shown_similarities(
    given: MethodInput,
    shown_a: Bool[Tensor, "n r_a"],
    shown_b: Bool[Tensor, "m r_b"],
    fill: str = "blur",
    batch_size: int = 32,
) -> Float[Tensor, "n m"]:
    """(n, m) similarities, by the model, of copies of two images that show only some of their cells."""
    model = given.model
    a = _shown(given, given.image_a, shown_a, given.maps_a.grid, fill, batch_size)
    b = _shown(given, given.image_b, shown_b, given.maps_b.grid, fill, batch_size)
    return model.matcher.similarity(a, b).double().cpu()


def _shown(
    given: MethodInput, image: Image.Image, shown: Tensor, grid: tuple[int, int], fill: str, batch_size: int
) -> FeatureMaps:
    pixels = input_pixels(given.model, image)
    filled = filling(fill)(pixels)
    # Copies are made batch by batch: all at once they would take much memory at large inputs.
    copies = (hidden(pixels, filled, ~some, grid) for some in torch.split(shown, batch_size))
    return FeatureMaps.cat([embed_pixels(given.model, some, batch_size) for some in copies])
