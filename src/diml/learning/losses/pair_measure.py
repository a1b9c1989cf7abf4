"""How a loss compares images: one number per pair, differentiable with respect to the maps, with the plan held fixed.

The number is a sum over pairs of parts of the plan `T` times a function `f` of their cosine, plus the same function of
the cosine of the pooled vectors:

    (1 - w) f(p) + w sum_ij T_ij f(S_ij)

With a dustbin of price c, what stays unmatched counts as matched with similarity c, and `w f(c) (1 - sum_ij T_ij)` is
added.

Here `f(x) = x` for the similarity and `f(x) = sqrt(2 - 2 x + 1e-6)`, the length of the chord, for the distance (Zhao et
al. 2021, with w = 1/2). Given the plan, the derivative by `S_ij` is `w T_ij f'(S_ij)`. Weights of parts learn through
the pooled vectors; in the plan they are fixed. Weight 0 needs no plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning.losses.all_pairs import combined, exact
from diml.matching import Matcher, UnitMaps, combine, prepare
from diml.matching.unit_maps import weights_of

# Added under the root of a distance, so that its slope stays finite for equal vectors.
SMALL = 1e-6


@dataclass(frozen=True)
class CosineFunction:
    """A function of a cosine, with its derivative.

    Attributes:
        name: "similarity" or "distance".
        value: the function, elementwise.
        slope: the derivative as a function of the value, elementwise; None for a derivative of 1.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor] | None = None


def _chord(cosine: Tensor) -> Tensor:
    # Rounding can lift a cosine above 1 by more than SMALL.
    return (2 - 2 * cosine).clamp(min=0).add(SMALL).sqrt()


SIMILARITY = CosineFunction("similarity", lambda cosine: cosine)
DISTANCE = CosineFunction("distance", _chord, lambda value: -1 / value)


@dataclass(frozen=True, eq=False)
class PairMeasure:
    """A matcher, and the function of cosines that its plans sum up.

    Args:
        matcher: settings of the matching; with weight 0 only pooled vectors are compared.
        formula: `SIMILARITY`, -1..1, or `DISTANCE`, 0.001..2.
        price: gives the price c of a dustbin where it is learned, a tensor without axes; by default the matcher's.

    >>> import torch
    >>> from diml.learning.losses.pair_measure import DISTANCE
    >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
    >>> PairMeasure(Matcher(), DISTANCE).matrix(prepare(maps)).round(decimals=2)
    tensor([[0.0000, 1.4100],
            [1.4100, 0.0000]])
    """

    matcher: Matcher
    formula: CosineFunction = SIMILARITY
    price: Callable[[], Tensor] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.matcher.marginals, tuple):
            raise UsageError(
                "expected a marginal scheme by name, got weights of certain images; every batch contains other images"
            )
        if self.matcher.transport == "one-sided":
            raise UsageError(
                "expected the transport 'full' or 'dustbin' in a loss, which compares images in no order, got "
                "'one-sided'; use it when searching with the trained model"
            )

    def _priced(self) -> tuple[Matcher, Tensor | None]:
        """The matcher with the present price, and this price; None without a dustbin."""
        if self.matcher.transport != "dustbin":
            return self.matcher, None
        if self.price is None:
            return self.matcher, torch.tensor(self.matcher.bin_similarity)
        price = self.price()
        return self.matcher.replace(bin_similarity=float(price.detach())), price

    def _unmatched(self, price: Tensor, left: Tensor) -> Tensor:
        """What the mass adds that stayed unmatched."""
        return self.matcher.weight * self.formula.value(price.to(left)) * left

    @property
    def description(self) -> str:
        """The measure in words, for the record of a run.

        >>> PairMeasure(Matcher()).description
        'structural similarity (uniform marginals, weight 0.5, eps 0.05)'
        """
        if not self.matcher.weight:
            return f"pooled {self.formula.name}"
        scheme = self.matcher.marginals if isinstance(self.matcher.marginals, str) else "its own"
        return (
            f"structural {self.formula.name} ({scheme} marginals, weight {self.matcher.weight:g}, "
            f"eps {self.matcher.eps:g})"
        )

    def pairs(
        self, a: FeatureMaps | UnitMaps, b: FeatureMaps | UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
    ) -> Float[Tensor, " p"]:
        """(p,) values of the pairs (a[i_k], b[j_k]); within one set, each unordered pair is solved once.

        >>> import torch
        >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
        >>> PairMeasure(Matcher()).pairs(maps, maps, torch.tensor([0, 1]), torch.tensor([1, 0]))
        tensor([0., 0.])
        """
        if b is not a:
            return self._each(prepare(a), prepare(b), i, j)
        rows = prepare(a)
        lower, upper = torch.minimum(i, j), torch.maximum(i, j)
        once, which = torch.unique(lower * len(rows) + upper, return_inverse=True)
        return self._each(rows, rows, once // len(rows), once % len(rows)).index_select(0, which)

    def _each(self, a: UnitMaps, b: UnitMaps, i: Tensor, j: Tensor) -> Tensor:
        with exact(a.rows):
            matcher, price = self._priced()
            plan = matcher.plans(a, b, i, j).plan if matcher.weight else None
            found = _pairs(a.rows.index_select(0, i), b.rows.index_select(0, j), plan, matcher.weight, self.formula)
            if price is None or plan is None:
                return found
            return found + self._unmatched(price, 1 - plan.sum(dim=(1, 2)))

    def matrix(self, a: FeatureMaps | UnitMaps, b: FeatureMaps | UnitMaps | None = None) -> Float[Tensor, "n m"]:
        """(n, m) values of all pairs; within one set (b is a, or None), each unordered pair is solved once."""
        rows_a = prepare(a)
        rows_b = rows_a if b is None or b is a else prepare(b)
        with exact(rows_a.rows):
            if not self.matcher.weight:
                return self.formula.value(rows_a.rows[:, -1] @ rows_b.rows[:, -1].mT)
            matcher, price = self._priced()
            weights = weights_of(rows_a, rows_b)
            moved: list[Tensor] = []

            def shares(products: Tensor, same: bool) -> Tensor:
                found = self._shares(matcher, products, same, weights)
                if price is not None:
                    moved.append(found[:, :-1, :, :-1].sum(dim=(1, 3)) / matcher.weight)
                return found

            found = combined(rows_a.rows, rows_b.rows, shares, self.formula)
            return found if price is None else found + self._unmatched(price, 1 - moved[0])

    @torch.no_grad()
    def _shares(
        self,
        matcher: Matcher,
        products: Float[Tensor, "n rows_a m rows_b"],
        same: bool,
        weights: tuple[Tensor, Tensor] | None,
    ) -> Float[Tensor, "n rows_a m rows_b"]:
        """The weight of each product of two unit rows in its pair's value: `w T` for parts, `1 - w` for pooled."""
        (n, _, m, _), device = products.shape, products.device
        shares = torch.zeros_like(products)
        shares[:, -1, :, -1] = 1 - matcher.weight
        if not same:
            i = torch.arange(n, device=device).repeat_interleave(m)
            j = torch.arange(m, device=device).repeat(n)
            shares[i, :-1, j, :-1] = matcher.weight * matcher.plans_of(products, i, j, weights).plan
            return shares
        i, j = torch.triu_indices(n, n, device=device)
        plan = matcher.weight * matcher.plans_of(products, i, j, weights).plan
        # The plan of an image with itself is symmetric only within the tolerance, but has to be exactly so here.
        itself = (i == j).nonzero()[:, 0]
        plan[itself] = (plan[itself] + plan[itself].mT) / 2
        shares[i, :-1, j, :-1] = plan
        shares[j, :-1, i, :-1] = plan.mT
        return shares


def _pairs(rows_a: Tensor, rows_b: Tensor, plan: Tensor | None, weight: float, formula: CosineFunction) -> Tensor:
    """(p,) from the unit rows (p, r + 1, d) of both images and the plans (p, r_a, r_b)."""
    if plan is None:
        return formula.value((rows_a[:, -1] * rows_b[:, -1]).sum(dim=-1))
    value = formula.value(rows_a @ rows_b.mT)
    return combine(value[:, -1, -1], (plan * value[:, :-1, :-1]).sum(dim=(1, 2)), weight)
