"""How a loss compares images: one number of a pair, differentiable with respect to the maps, the plan held fixed.

Both numbers are a sum over parts of the plan `T` times a function `f` of their cosine, and the same of the pooled pair:

    (1 - w) f(p) + w sum_ij T_ij f(S_ij)

with `f(x) = x` for the similarity and `f(x) = sqrt(2 - 2 x + 1e-6)`, the length of the chord, for the distance (Zhao et
al. 2021, there with w = 1/2). Given the plan, the derivative by `S_ij` is `w T_ij f'(S_ij)`. Weight 0 asks for no plan.
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

# Under the root of a distance, so that its slope stays finite where two vectors are the same.
SMALL = 1e-6


@dataclass(frozen=True)
class CosineFunction:
    """A function of a cosine.

    Attributes:
        name: "similarity" or "distance".
        value: the function, elementwise.
        slope: its derivative, elementwise, given its value; None for a derivative of 1.
    """

    name: str
    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor] | None = None


def _chord(cosine: Tensor) -> Tensor:
    # Rounding can lift a cosine above 1 by more than what stands under the root.
    return (2 - 2 * cosine).clamp(min=0).add(SMALL).sqrt()


SIMILARITY = CosineFunction("similarity", lambda cosine: cosine)
DISTANCE = CosineFunction("distance", _chord, lambda value: -1 / value)


@dataclass(frozen=True, eq=False)
class PairMeasure:
    """A matcher's settings, and which number is made of its plans.

    Args:
        matcher: marginals, weight w, eps and tolerance of the matching; with weight 0 only pooled vectors are compared.
        formula: `SIMILARITY`, -1..1, or `DISTANCE`, 0.001..2.

    >>> import torch
    >>> from diml.learning.losses.pair_measure import DISTANCE
    >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
    >>> PairMeasure(Matcher(), DISTANCE).matrix(prepare(maps)).round(decimals=2)
    tensor([[0.0000, 1.4100],
            [1.4100, 0.0000]])
    """

    matcher: Matcher
    formula: CosineFunction = SIMILARITY

    def __post_init__(self) -> None:
        if isinstance(self.matcher.marginals, tuple):
            raise UsageError(
                "marginals came as weights of certain images; expected a scheme, as every batch has images of its own"
            )

    @property
    def description(self) -> str:
        """In words, for a run's record.

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
        """(p,) the numbers of the pairs (a[i_k], b[j_k]) and of no others; of a set with itself each pair once.

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
            plan = self.matcher.plans(a, b, i, j).plan if self.matcher.weight else None
            return _pairs(a.rows.index_select(0, i), b.rows.index_select(0, j), plan, self.matcher.weight, self.formula)

    def matrix(self, a: FeatureMaps | UnitMaps, b: FeatureMaps | UnitMaps | None = None) -> Float[Tensor, "n m"]:
        """(n, m) the numbers of all pairs; of a set with itself (b is a, or None) each unordered pair once."""
        rows_a = prepare(a)
        rows_b = rows_a if b is None or b is a else prepare(b)
        with exact(rows_a.rows):
            if not self.matcher.weight:
                return self.formula.value(rows_a.rows[:, -1] @ rows_b.rows[:, -1].mT)
            return combined(rows_a.rows, rows_b.rows, self._shares, self.formula)

    @torch.no_grad()
    def _shares(self, products: Float[Tensor, "n rows_a m rows_b"], same: bool) -> Float[Tensor, "n rows_a m rows_b"]:
        """What share of its pair's number each product of two unit rows has: `w T` for parts, `1 - w` for pooled."""
        (n, _, m, _), device = products.shape, products.device
        shares = torch.zeros_like(products)
        shares[:, -1, :, -1] = 1 - self.matcher.weight
        if not same:
            i = torch.arange(n, device=device).repeat_interleave(m)
            j = torch.arange(m, device=device).repeat(n)
            shares[i, :-1, j, :-1] = self.matcher.weight * self.matcher.plans_of(products, i, j).plan
            return shares
        i, j = torch.triu_indices(n, n, device=device)
        plan = self.matcher.weight * self.matcher.plans_of(products, i, j).plan
        # The plan of an image with itself is symmetric within the tolerance only; here it has to be so exactly.
        itself = (i == j).nonzero()[:, 0]
        plan[itself] = (plan[itself] + plan[itself].mT) / 2
        shares[i, :-1, j, :-1] = plan
        shares[j, :-1, i, :-1] = plan.mT
        return shares


def _pairs(rows_a: Tensor, rows_b: Tensor, plan: Tensor | None, weight: float, formula: CosineFunction) -> Tensor:
    """(p,) from the unit rows (p, r + 1, d) of both sides and the plans (p, r_a, r_b) of the pairs."""
    if plan is None:
        return formula.value((rows_a[:, -1] * rows_b[:, -1]).sum(dim=-1))
    value = formula.value(rows_a @ rows_b.mT)
    return combine(value[:, -1, -1], (plan * value[:, :-1, :-1]).sum(dim=(1, 2)), weight)
