"""Newton's steps to a transport plan: a handful of them end what may take Sinkhorn's iterations thousands.

Given the potential f of the rows (in units of eps), the best one of the columns is known, and so the plan is, whose
columns sum to mu_b:

    T_ij = mu_b_j softmax_i(f_i - cost_ij / eps)

What is left to choose is f, as the minimum of a convex function of r_a numbers, the semi-dual of entropic transport
(Cuturi, Peyre 2018), with its derivatives in r_a numbers and r_a x r_a:

    phi(f)  = sum_j mu_b_j log sum_i exp(f_i - cost_ij / eps) - sum_i mu_a_i f_i
    phi'(f) = T 1 - mu_a
    phi''(f) = diag(T 1) - T diag(1 / mu_b) T^T

A step solves `(phi'' + damping) df = -phi'` and is taken where it lowers phi by enough or halves the error of the rows;
elsewhere Sinkhorn's iteration, f_i = log mu_a_i - log sum_j exp(g_j - cost_ij / eps), takes its place and damping grows
(Levenberg-Marquardt; damping is in proportion to the error, so that convergence stays quadratic). So it converges
wherever Sinkhorn's iterations do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Cells of plans that are worked on at once: a step needs some ten arrays of that size.
CELLS = 2**20
# Share of the decrease that the slope promises that is enough.
ENOUGH = 1e-4
# By how much damping falls after a step of Newton's and grows after one that was not good.
EASIER, HARDER = 0.25, 8.0


@dataclass(frozen=True, eq=False)
class _State:
    """Of n pairs: the potential of the rows, phi there, the plan, its row sums, and their L1 distance to mu_a."""

    f: Float[Tensor, "n r_a"]
    value: Float[Tensor, " n"]
    plan: Float[Tensor, "n r_a r_b"]
    sums: Float[Tensor, "n r_a"]
    error: Float[Tensor, " n"]

    def __getitem__(self, pairs: Tensor) -> _State:
        return _State(self.f[pairs], self.value[pairs], self.plan[pairs], self.sums[pairs], self.error[pairs])

    def where(self, chosen: Tensor, other: _State) -> _State:
        """Of each pair this or the other."""
        line, table = chosen[:, None], chosen[:, None, None]
        return _State(
            torch.where(line, self.f, other.f),
            torch.where(chosen, self.value, other.value),
            torch.where(table, self.plan, other.plan),
            torch.where(line, self.sums, other.sums),
            torch.where(chosen, self.error, other.error),
        )


@torch.no_grad()
def newton_plan(
    exponent: Float[Tensor, "n r_a r_b"],
    mu_a: Float[Tensor, "n r_a"],
    mu_b: Float[Tensor, "n r_b"],
    f: Float[Tensor, "n r_a"],
    tolerance: float,
    limit: int,
) -> tuple[Float[Tensor, "n r_a r_b"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The plans of n pairs, the steps each took, and the L1 distance of row sums to mu_a; columns sum to mu_b.

    Every pair stops by itself, once that distance is within the tolerance, or after `limit` steps.

    Args:
        exponent: -cost / eps, float64.
        mu_a, mu_b: each row summing to 1; zero entries are allowed.
        f: where to begin, as Sinkhorn's iterations left it; -inf where mu_a is 0.
        tolerance: L1; 1e-13 or so can be reached.

    >>> exponent = torch.tensor([[[0.0, -1.0], [-3.0, 0.0]]], dtype=torch.float64)
    >>> half = torch.full((1, 2), 0.5, dtype=torch.float64)
    >>> plan, steps, error = newton_plan(exponent, half, half, 0 * half, 1e-12, 20)
    >>> plan.sum(dim=2)
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    n, r_a, r_b = exponent.shape
    size = max(1, CELLS // (r_a * max(r_a, r_b)))
    solved = [
        _Problem(exponent[at], mu_a[at], mu_b[at]).solve(f[at], tolerance, limit)
        for at in (slice(start, start + size) for start in range(0, n, size))
    ]
    if not solved:
        return exponent, torch.zeros(0, dtype=torch.int64, device=f.device), f.new_zeros(0)
    plan, steps, error = (torch.cat(parts) for parts in zip(*solved, strict=True))
    return plan, steps, error


class _Problem:
    """Pairs at work."""

    def __init__(self, exponent: Tensor, mu_a: Tensor, mu_b: Tensor) -> None:
        self.exponent, self.mu_a, self.mu_b = exponent, mu_a, mu_b

    def __getitem__(self, pairs: Tensor) -> _Problem:
        return _Problem(self.exponent[pairs], self.mu_a[pairs], self.mu_b[pairs])

    def solve(self, f: Tensor, tolerance: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
        state = self.at(f)
        damping = torch.ones_like(state.error)
        plan, error = state.plan.clone(), state.error.clone()
        steps = torch.zeros(len(f), dtype=torch.int64, device=f.device)
        pairs, problem = torch.arange(len(f), device=f.device), self  # those still at work
        for step in range(limit + 1):
            open_ = ~(state.error <= tolerance)
            if step == limit or not open_.all():
                done = ~open_ if step < limit else torch.ones_like(open_)
                at = pairs[done]
                plan[at], error[at], steps[at] = state.plan[done], state.error[done], step
                pairs, state, damping, problem = pairs[~done], state[~done], damping[~done], problem[~done]
            if not len(pairs):
                break
            state, damping = problem.step(state, damping)
        return plan, steps, error

    def at(self, f: Tensor) -> _State:
        together = self.exponent + f[:, :, None]
        logs = together.logsumexp(dim=1)
        plan = (together + (self.mu_b.log() - logs)[:, None]).exp()
        sums = plan.sum(dim=2)
        # 0 log 0 is 0.
        value = (self.mu_b * logs).sum(dim=1) - (self.mu_a * f.masked_fill(self.mu_a == 0, 0)).sum(dim=1)
        return _State(f, value, plan, sums, (sums - self.mu_a).abs().sum(dim=1))

    def step(self, now: _State, damping: Tensor) -> tuple[_State, Tensor]:
        change, solvable = self._change(now, damping)
        found = self.at(now.f + change)
        promised = ((now.sums - self.mu_a) * change).sum(dim=1)
        good = solvable & ((found.value <= now.value + ENOUGH * promised) | (found.error <= now.error / 2))
        if not good.all():
            found = found.where(good, self.at(self._sinkhorn(now.f)))
        return found, torch.where(good, EASIER * damping, HARDER * damping)

    def _change(self, now: _State, damping: Tensor) -> tuple[Tensor, Tensor]:
        """Newton's step, and whether its equations could be solved."""
        empty = self.mu_a == 0
        per_column = torch.where(self.mu_b > 0, 1 / self.mu_b, 0)
        curvature = -(now.plan * per_column[:, None]) @ now.plan.mT
        # The same number added to every f changes nothing: what is added here leaves the step without such a part.
        curvature += 1 / curvature.shape[1] ** 2
        diagonal = now.sums + (damping * now.error)[:, None] * self.mu_a
        curvature.diagonal(dim1=1, dim2=2).add_(diagonal.masked_fill(empty, 1))
        factor, failed = torch.linalg.cholesky_ex(curvature)
        change = torch.cholesky_solve((self.mu_a - now.sums)[:, :, None], factor)[:, :, 0]
        return change.masked_fill(empty, 0), failed == 0

    def _sinkhorn(self, f: Tensor) -> Tensor:
        g = self.mu_b.log() - (self.exponent + f[:, :, None]).logsumexp(dim=1)
        return self.mu_a.log() - (self.exponent + g[:, None]).logsumexp(dim=2)
