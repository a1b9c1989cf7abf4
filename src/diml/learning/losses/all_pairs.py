"""One number for every pair of images: a weighted sum over the products of all their unit rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from diml.learning.losses.pair_measure import CosineFunction

Shares = Callable[[Tensor, bool], Tensor]


def combined(
    rows_a: Float[Tensor, "n rows_a d"], rows_b: Float[Tensor, "m rows_b d"], shares: Shares, formula: CosineFunction
) -> Float[Tensor, "n m"]:
    """(n, m) `sum_kl W_kl f(a_k . b_l)` over the rows of every pair of images, differentiable by the rows.

    Args:
        rows_a: as `UnitMaps.rows`, the pooled vector last.
        rows_b: likewise; the same tensor as `rows_a` for pairs within one set.
        shares: returns the weights W (n, rows_a, m, rows_b), which are held fixed. It receives the products in the same
            layout, and whether both sets are the same; then W of (j, i) must be the transpose of W of (i, j).
        formula: f.
    """
    if rows_b is not rows_a:
        found: Tensor = _Combined.apply(rows_a, rows_b, shares, formula)
        return found
    matrix: Tensor = _Combined.apply(rows_a, None, shares, formula)
    return (matrix + matrix.mT) / 2  # a matrix product is symmetric up to rounding


class _Combined(torch.autograd.Function):
    """One matrix product forward, and one per set backward.

    Autograd would store products, values and weights, n m (r + 1)^2 numbers each; this stores only the slope `W f'`.
    """

    @staticmethod
    def forward(ctx: Any, rows_a: Tensor, rows_b: Tensor | None, shares: Shares, formula: CosineFunction) -> Tensor:
        a = rows_a.flatten(0, 1)
        b = a if rows_b is None else rows_b.flatten(0, 1)
        products = (a @ b.mT).view(*rows_a.shape[:2], -1, (rows_a if rows_b is None else rows_b).shape[1])
        weights = shares(products, rows_b is None)
        value = formula.value(products)
        if any(ctx.needs_input_grad):
            slope = weights if formula.slope is None else formula.slope(value).mul_(weights)
            ctx.save_for_backward(rows_a, rows_b, slope)
        return (value * weights).sum(dim=3).sum(dim=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows_a, rows_b, slope = ctx.saved_tensors
        if rows_b is None:
            gradient = gradient + gradient.mT  # (i, j) and (j, i) share one value and one slope
        with exact(gradient):
            flat = (gradient[:, None, :, None] * slope).flatten(2, 3).flatten(0, 1)
            to_a = to_b = None
            if ctx.needs_input_grad[0]:
                to_a = (flat @ (rows_a if rows_b is None else rows_b).flatten(0, 1)).view_as(rows_a)
            if rows_b is not None and ctx.needs_input_grad[1]:
                to_b = (flat.mT @ rows_a.flatten(0, 1)).view_as(rows_b)
        return to_a, to_b, None, None


def exact(like: Tensor) -> torch.autocast:
    """Disable autocast: plans, products and losses are computed in float32 or better."""
    return torch.autocast(like.device.type, enabled=False)
