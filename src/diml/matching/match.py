"""The match of two images: the transport plan, and every number derived from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, SupportsIndex

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.defaults import WEIGHT
from diml.matching.score import combine
from diml.matching.transport import TransportPlan

if TYPE_CHECKING:
    from diml.matching.region_pairs import RegionPairs

Cell = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class PartPair:
    """A pair of parts and its contribution to the similarity.

    Attributes:
        a, b: (row, column) of the cell in each image's grid.
        a_box, b_box: `x0, y0, x1, y1` of the cells in pixels of the originals; None where the geometry is unknown.
        mass: share of the transported mass that goes from a to b, 0..1; all pairs sum to 1.
        similarity: cosine of the two parts, -1..1.
        contribution: what the pair adds to the similarity of the images; may be negative.
        share: contribution / similarity of the images; NaN where that is 0.
    """

    a: Cell
    b: Cell
    a_box: Box | None
    b_box: Box | None
    mass: float
    similarity: float
    contribution: float
    share: float


@dataclass(frozen=True, eq=False)
class Match:
    """The matches of n pairs of images: one plan per pair, from which everything else is derived.

    A contribution explains the score, not the world: it says which parts of the two feature maps make up the number,
    and the receptive field of a cell is larger than the box in which it is drawn.

    Numbers of pairs of images, such as `similarity`, are tensors (n,), also for n = 1: `match.similarity.item()` is the
    float of a single pair. Numbers of pairs of parts, see `parts`, are floats.

    An image's similarity with itself is below 1, because entropy blurs the plan. Contributions may be negative.

    Args:
        maps_a: feature maps of n images.
        maps_b: feature maps of n images, matched one by one with those of a; the grids may differ, the dim may not.
        transport: the plans, (n, r_a, r_b), held fixed: they have no gradient.
        weight: weight of the structural similarity, 0..1.
        part_weights: for the match of a part (see `find_part`), how much each cell of a counts; None for whole images.
        marginals: (n, r_a) and (n, r_b), what each part could give or take; None where that is not known, and nothing
            counts as unmatched then.
        mass: share of the mass that is moved by a partial transport; its plan is scaled to sum to 1.
        bin_similarity: price of what stays unmatched by a transport with a dustbin; None for other transports.

    >>> import torch
    >>> from diml.matching import Matcher
    >>> maps = FeatureMaps(torch.eye(4).reshape(1, 4, 4), grid=(2, 2))
    >>> match = Matcher().match(maps, maps)
    >>> round(match.similarity.item(), 4), round(match.contributions.sum().item(), 4)
    (1.0, 1.0)
    >>> match.parts(1)[0].b
    (0, 0)
    """

    maps_a: FeatureMaps
    maps_b: FeatureMaps
    transport: TransportPlan
    weight: float = WEIGHT
    part_weights: Float[Tensor, "n r_a"] | None = None
    marginals: tuple[Float[Tensor, "n r_a"], Float[Tensor, "n r_b"]] | None = None
    mass: float = 1.0
    bin_similarity: float | None = None

    def __post_init__(self) -> None:
        a, b = self.maps_a, self.maps_b
        if a.dim != b.dim or len(a) != len(b):
            raise UsageError(f"{a} cannot be matched with {b}: n and dim must be the same")
        if self.transport.plan.shape != (len(a), a.parts, b.parts):
            raise UsageError(
                f"expected a plan of shape {(len(a), a.parts, b.parts)}, got {tuple(self.transport.plan.shape)}"
            )
        if not 0 <= self.weight <= 1:
            raise UsageError(f"expected a weight from 0 (pooled only) to 1 (structural only), got {self.weight}")
        if self.part_weights is not None and self.part_weights.shape != (len(a), a.parts):
            raise UsageError(
                f"expected part weights of shape {(len(a), a.parts)}, got {tuple(self.part_weights.shape)}"
            )

    def __len__(self) -> int:
        return len(self.maps_a)

    def __getitem__(self, index: SupportsIndex | slice) -> Match:
        """The matches of some pairs; an int gives a Match of n = 1."""
        at = index
        if not isinstance(index, slice):
            first = range(len(self))[index]
            at = slice(first, first + 1)
        assert isinstance(at, slice)
        part = None if self.part_weights is None else self.part_weights[at]
        marginals = None if self.marginals is None else (self.marginals[0][at], self.marginals[1][at])
        return replace(
            self,
            maps_a=self.maps_a[at],
            maps_b=self.maps_b[at],
            transport=self.transport[at],
            part_weights=part,
            marginals=marginals,
        )

    @cached_property
    def chosen(self) -> list[int] | None:
        """Numbers of the cells of a that a part query chose, row by row from 0; None for whole images."""
        if self.part_weights is None:
            return None
        return (self.part_weights > 0).any(dim=0).nonzero()[:, 0].tolist()

    @property
    def plan(self) -> Float[Tensor, "n r_a r_b"]:
        return self.transport.plan

    @property
    def converged(self) -> Bool[Tensor, " n"]:
        return self.transport.converged

    @cached_property
    def local_similarity(self) -> Float[Tensor, "n r_a r_b"]:
        """`S_ij = hat(a_i) . hat(b_j)`, -1..1."""
        return F.normalize(_full(self.maps_a.local), dim=-1) @ F.normalize(_full(self.maps_b.local), dim=-1).mT

    @cached_property
    def structural(self) -> Float[Tensor, " n"]:
        """`s = sum_ij T_ij S_ij`, -1..1; with a dustbin of price c, `c (1 - sum_ij T_ij)` is added."""
        matched = (self.plan * self.local_similarity).sum(dim=(1, 2))
        if self.bin_similarity is None:
            return matched
        return matched + self.bin_similarity * (1 - self.plan.sum(dim=(1, 2)))

    @cached_property
    def unmatched(self) -> tuple[Float[Tensor, "n r_a"], Float[Tensor, "n r_b"]]:
        """The mass of each part of a and of b that found no counterpart; its sum is a share of the image, 0..1.

        With a one-sided transport all of a is matched, and of b what nothing of a was matched with is left.
        """
        if self.marginals is None:
            zero = self.plan.new_zeros(())
            return zero * self.plan.sum(dim=2), zero * self.plan.sum(dim=1)
        mu_a, mu_b = self.marginals
        a, b = mu_a - self.mass * self.plan.sum(dim=2), mu_b - self.mass * self.plan.sum(dim=1)
        return a.clamp(min=0), b.clamp(min=0)

    @cached_property
    def unmatched_contributions(self) -> tuple[Float[Tensor, "n r_a"], Float[Tensor, "n r_b"]]:
        """What each part that stays in the dustbin adds to the similarity: `w c / 2` times its unmatched mass.

        They are 0 without a dustbin. They sum to `w c (1 - sum_ij T_ij)`.
        """
        a, b = self.unmatched
        price = self.weight * (self.bin_similarity or 0.0) / 2
        if not price:
            return 0 * a, 0 * b
        # Not the clamped masses: rounding may not be lost from the account.
        mu_a, mu_b = self.marginals or (self.plan.sum(dim=2), self.plan.sum(dim=1))
        return price * (mu_a - self.plan.sum(dim=2)), price * (mu_b - self.plan.sum(dim=1))

    @cached_property
    def pooled(self) -> Float[Tensor, " n"]:
        """`p = hat(pooled_a) . hat(pooled_b)`, -1..1, from the model's pooled vectors."""
        a, b = _full(self.maps_a.pooled), _full(self.maps_b.pooled)
        return (F.normalize(a, dim=-1) * F.normalize(b, dim=-1)).sum(dim=-1)

    @property
    def similarity(self) -> Float[Tensor, " n"]:
        """`(1 - w) p + w s`, -1..1."""
        return combine(self.pooled, self.structural, self.weight)

    @cached_property
    def structural_contributions(self) -> Float[Tensor, "n r_a r_b"]:
        """`w T_ij S_ij`: what each pair of parts adds by being matched; sums to `w structural`."""
        return self.weight * self.plan * self.local_similarity

    @cached_property
    def pooled_contributions(self) -> Float[Tensor, "n r_a r_b"]:
        """`(1 - w) alpha_i beta_j (a_i . b_j) / (|pooled_a| |pooled_b|)`: what each pair adds to the pooled half.

        Here alpha and beta are the weights of the parts, 1 / r where the maps have none, and `pooled` is the weighted
        mean of the parts, so all pairs sum to `(1 - w) pooled - residual`.
        """
        return (1 - self.weight) * (_pooled_shares(self.maps_a) @ _pooled_shares(self.maps_b).mT)

    @cached_property
    def contributions(self) -> Float[Tensor, "n r_a r_b"]:
        """What each pair of parts adds: `structural_contributions + pooled_contributions`.

        All pairs, and `unmatched_contributions`, sum to `similarity - residual`; the residual is 0 up to rounding
        unless the model has its own pooled vector.
        """
        return self.structural_contributions + self.pooled_contributions

    @property
    def residual(self) -> Float[Tensor, " n"]:
        """`similarity - sum of contributions`, those of unmatched parts included: what the parts do not explain."""
        unmatched = sum(each.sum(dim=1) for each in self.unmatched_contributions)
        return self.similarity - self.contributions.sum(dim=(1, 2)) - unmatched

    def parts(self, n: int | None = None) -> list[PartPair]:
        """The n strongest pairs of parts of one pair of images, by contribution, largest first; None for all pairs.

        The match of a part lists the pairs of its chosen cells only, see `chosen`.

        Raises:
            UsageError: this Match holds several pairs of images, or n < 1.
        """
        if len(self) != 1:
            raise UsageError(f"expected a Match of one pair of images, got {len(self)} pairs; use match[0].parts()")
        if n is not None and n < 1:
            raise UsageError(f"expected n >= 1, got {n}")
        boxes_a, boxes_b = (_boxes(maps) for maps in (self.maps_a, self.maps_b))
        columns = [t[0].detach().flatten().tolist() for t in (self.plan, self.local_similarity, self.contributions)]
        total = self.similarity.detach().item()
        pairs = []
        for flat in self._strongest()[:n]:
            i, j = divmod(flat, self.maps_b.parts)
            mass, similarity, contribution = (column[flat] for column in columns)
            pairs.append(
                PartPair(
                    a=divmod(i, self.maps_a.grid[1]),
                    b=divmod(j, self.maps_b.grid[1]),
                    a_box=boxes_a[i] if boxes_a else None,
                    b_box=boxes_b[j] if boxes_b else None,
                    mass=mass,
                    similarity=similarity,
                    contribution=contribution,
                    share=contribution / total if total else float("nan"),
                )
            )
        return pairs

    def regions(self, n: int = 5) -> RegionPairs:
        """The contributions of one pair of images, grouped into at most n pairs of regions that correspond.

        A region is a connected set of cells of each image, at most a third of its cells; one cell is always allowed.
        `structural_contributions` count where both cells lie in the two regions of a pair. Of `pooled_contributions`,
        which join every cell with every other, a cell counts with half of its row, or of its column. What remains is
        listed as well, as background (cells of little weight), unmatched and remainder, so the contributions of all
        pairs and the residual sum to `similarity`.

        Regions are grown to carry as much as they can, and then reduced to the cells that carry 70 % of the
        similarity together; those that carry less than 5 % are given up. They are found by a greedy search: there may
        be others that carry more.

        Raises:
            UsageError: this Match holds several pairs of images, or n < 1.

        >>> import torch
        >>> from diml.matching import Matcher
        >>> maps = FeatureMaps(torch.eye(4, dtype=torch.float64).reshape(1, 4, 4), grid=(2, 2))
        >>> regions = Matcher().match(maps, maps).regions()
        >>> [(pair.kind, pair.a_cells, pair.b_cells, round(pair.share, 3)) for pair in regions][0]
        ('region', ((0, 0),), ((0, 0),), 0.25)
        >>> round(sum(pair.contribution for pair in regions) + regions.residual, 9) == round(regions.similarity, 9)
        True
        """
        from diml.matching.region_pairs import region_pairs

        if n not in self._regions:
            self._regions[n] = region_pairs(self, n)
        return self._regions[n]

    @cached_property
    def _regions(self) -> dict[int, RegionPairs]:
        """The regions found so far, by their number: words, pictures and documents ask for the same ones."""
        return {}

    def _strongest(self) -> list[int]:
        """Numbers `i r_b + j` of the pairs of cells of the one pair of images, largest contribution first."""
        order: list[int] = self.contributions[0].detach().flatten().argsort(descending=True, stable=True).tolist()
        if self.chosen is None:
            return order
        chosen = set(self.chosen)
        return [flat for flat in order if flat // self.maps_b.parts in chosen]

    def __repr__(self) -> str:
        return f"Match(n={len(self)}, a={self.maps_a}, b={self.maps_b}, weight={self.weight})"


def _full(x: Tensor) -> Tensor:
    """Half precision is for storage; computation is in float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _pooled_shares(maps: FeatureMaps) -> Float[Tensor, "n r d"]:
    """Each part's share of the unit pooled vector, `alpha_i x_i / |pooled|`: they sum to `hat(pooled)`."""
    norm = torch.linalg.vector_norm(maps.mean, dim=-1).clamp(
        min=1e-12
    )  # the clamp of F.normalize, so that both agree at zero
    local = _full(maps.local)
    if maps.weights is None:
        even: Tensor = local / (maps.parts * norm[:, None, None])
        return even
    shares: Tensor = local * (maps.weights.to(local) / norm[:, None])[:, :, None]
    return shares


def _boxes(maps: FeatureMaps) -> list[Box] | None:
    boxes = maps.boxes(0)
    return None if boxes is None else [tuple(box) for box in boxes.tolist()]
