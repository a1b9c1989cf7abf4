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
from typing import Protocol, runtime_checkable

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
class State:
    """Where n pairs have got to.

    Attributes:
        f, g: potentials of the rows, and the best ones of the columns for them, in units of eps.
        value: what is to be lowered, at f.
        plan: `exp(f_i + g_j - cost_ij / eps)`, up to a factor.
        sums: of its rows.
        error: L1 distance to the solution's conditions.
    """

    f: Float[Tensor, "n r_a"]
    g: Float[Tensor, "n r_b"]
    value: Float[Tensor, " n"]
    plan: Float[Tensor, "n r_a r_b"]
    sums: Float[Tensor, "n r_a"]
    error: Float[Tensor, " n"]

    def __getitem__(self, pairs: Tensor) -> State:
        return State(*(part[pairs] for part in self._parts()))

    def where(self, chosen: Tensor, other: State) -> State:
        """Of each pair this or the other."""
        both = zip(self._parts(), other._parts(), strict=True)
        return State(*(torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in both))

    def _parts(self) -> tuple[Tensor, ...]:
        return self.f, self.g, self.value, self.plan, self.sums, self.error


@runtime_checkable
class Problem(Protocol):
    """Of n pairs, a convex function of the rows' potentials that the plan is the minimum of."""

    exponent: Float[Tensor, "n r_a r_b"]

    def __getitem__(self, pairs: Tensor | slice, /) -> Problem:
        """Of some of the pairs."""

    def at(self, f: Tensor) -> State:
        """The state at potentials (n, r_a)."""

    def change(self, now: State, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Newton's damped step: potentials after it, how far it goes down the slope, whether it could be made."""

    def otherwise(self, now: State) -> Tensor:
        """Potentials after an iteration that always leads on."""


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
    return solve(_Whole(exponent, mu_a, mu_b), f, tolerance, limit)


@torch.no_grad()
def solve(
    problem: Problem, f: Float[Tensor, "n r_a"], tolerance: float, limit: int
) -> tuple[Float[Tensor, "n r_a r_b"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The plans of n pairs, the steps each took, and their errors; every pair stops by itself."""
    n, r_a, r_b = problem.exponent.shape
    size = max(1, CELLS // (r_a * max(r_a, r_b)))
    pieces = [slice(start, start + size) for start in range(0, max(n, 1), size)]
    found = [_solve_piece(problem[at], f[at], tolerance, limit) for at in pieces]
    plan, steps, error = (torch.cat(parts) for parts in zip(*found, strict=True))
    return plan, steps, error


def _solve_piece(problem: Problem, f: Tensor, tolerance: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    state = problem.at(f)
    damping = torch.ones_like(state.error)
    plan, error = state.plan.clone(), state.error.clone()
    steps = torch.zeros(len(f), dtype=torch.int64, device=f.device)
    pairs = torch.arange(len(f), device=f.device)  # those still at work
    for step in range(limit + 1):
        open_ = ~(state.error <= tolerance)
        if step == limit or not open_.all():
            done = ~open_ if step < limit else torch.ones_like(open_)
            at = pairs[done]
            plan[at], error[at], steps[at] = state.plan[done], state.error[done], step
            pairs, state, damping, problem = pairs[~done], state[~done], damping[~done], problem[~done]
        if not len(pairs):
            break
        state, damping = _step(problem, state, damping)
    return plan, steps, error


def _step(problem: Problem, now: State, damping: Tensor) -> tuple[State, Tensor]:
    f, promised, made = problem.change(now, damping)
    found = problem.at(f)
    good = made & ((found.value <= now.value + ENOUGH * promised) | (found.error <= now.error / 2))
    if not good.all():
        found = found.where(good, problem.at(problem.otherwise(now)))
    return found, torch.where(good, EASIER * damping, HARDER * damping)


def solved(curvature: Tensor, diagonal: Tensor, fixed: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The change (n, r) for which `(curvature + diagonal) change = -slope`, 0 where it is fixed; whether there is one.

    Rows of the curvature (n, r, r) that are fixed are to be 0; it is written over.
    """
    curvature.diagonal(dim1=1, dim2=2).add_(diagonal.masked_fill(fixed, 1))
    factor, failed = torch.linalg.cholesky_ex(curvature)
    change = torch.cholesky_solve(-slope[:, :, None], factor)[:, :, 0]
    return change.masked_fill(fixed, 0), failed == 0


class _Whole:
    """All of the mass is moved."""

    def __init__(self, exponent: Tensor, mu_a: Tensor, mu_b: Tensor) -> None:
        self.exponent, self.mu_a, self.mu_b = exponent, mu_a, mu_b

    def __getitem__(self, pairs: Tensor | slice) -> _Whole:
        return _Whole(self.exponent[pairs], self.mu_a[pairs], self.mu_b[pairs])

    def at(self, f: Tensor) -> State:
        together = self.exponent + f[:, :, None]
        logs = together.logsumexp(dim=1)
        g = self.mu_b.log() - logs
        plan = (together + g[:, None]).exp()
        sums = plan.sum(dim=2)
        # 0 log 0 is 0.
        value = (self.mu_b * logs).sum(dim=1) - (self.mu_a * f.masked_fill(self.mu_a == 0, 0)).sum(dim=1)
        return State(f, g, value, plan, sums, (sums - self.mu_a).abs().sum(dim=1))

    def change(self, now: State, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slope = now.sums - self.mu_a
        per_column = torch.where(self.mu_b > 0, 1 / self.mu_b, 0)
        curvature = -(now.plan * per_column[:, None]) @ now.plan.mT
        # The same number added to every f changes nothing: what is added here leaves the step without such a part.
        curvature += 1 / curvature.shape[1] ** 2
        diagonal = now.sums + (damping * now.error)[:, None] * self.mu_a
        change, made = solved(curvature, diagonal, self.mu_a == 0, slope)
        return now.f + change, (slope * change).sum(dim=1), made

    def otherwise(self, now: State) -> Tensor:
        return self.mu_a.log() - (self.exponent + now.g[:, None]).logsumexp(dim=2)
