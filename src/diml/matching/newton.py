"""Newton's steps to a transport plan: a handful of them replace thousands of Sinkhorn's iterations.

The potential f of the rows (in units of eps) determines the best potential of the columns, and with it the plan, whose
columns sum to mu_b:

    T_ij = mu_b_j softmax_i(f_i - cost_ij / eps)

So only f is unknown. It minimises a convex function of r_a numbers, the semi-dual of entropic transport (Cuturi, Peyre
2018), whose derivatives are a vector of r_a numbers and an r_a x r_a matrix:

    phi(f)  = sum_j mu_b_j log sum_i exp(f_i - cost_ij / eps) - sum_i mu_a_i f_i
    phi'(f) = T 1 - mu_a
    phi''(f) = diag(T 1) - T diag(1 / mu_b) T^T

A step solves `(phi'' + damping) df = -phi'`. It is accepted if it lowers phi enough or halves the error of the rows;
otherwise one of Sinkhorn's iterations, f_i = log mu_a_i - log sum_j exp(g_j - cost_ij / eps), replaces it and the
damping grows (Levenberg-Marquardt; the damping is proportional to the error, so that convergence stays quadratic). The
method therefore converges whenever Sinkhorn's iterations do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Cells of plans that are processed at once: a step needs about ten arrays of this size.
CELLS = 2**20
# A step is accepted if it achieves this share of the decrease that the slope predicts.
ENOUGH = 1e-4
# Factors of the damping after a step that was accepted, and after one that was not.
EASIER, HARDER = 0.25, 8.0


@dataclass(frozen=True, eq=False)
class NewtonState:
    """The current iterate of n pairs.

    Attributes:
        f, g: potentials of the rows, and the best potentials of the columns given them, in units of eps.
        value: the objective at f.
        plan: `exp(f_i + g_j - cost_ij / eps)`, up to a factor.
        sums: row sums of the plan.
        error: L1 distance to the conditions of the solution.
    """

    f: Float[Tensor, "n r_a"]
    g: Float[Tensor, "n r_b"]
    value: Float[Tensor, " n"]
    plan: Float[Tensor, "n r_a r_b"]
    sums: Float[Tensor, "n r_a"]
    error: Float[Tensor, " n"]

    def __getitem__(self, pairs: Tensor) -> NewtonState:
        return NewtonState(*(part[pairs] for part in self._parts()))

    def where(self, chosen: Tensor, other: NewtonState) -> NewtonState:
        """This state for the chosen pairs, the other one for the rest."""
        both = zip(self._parts(), other._parts(), strict=True)
        return NewtonState(*(torch.where(chosen.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in both))

    def _parts(self) -> tuple[Tensor, ...]:
        return self.f, self.g, self.value, self.plan, self.sums, self.error


@runtime_checkable
class NewtonProblem(Protocol):
    """For n pairs, a convex function of the rows' potentials; its minimum gives the plan."""

    exponent: Float[Tensor, "n r_a r_b"]

    def __getitem__(self, pairs: Tensor | slice, /) -> NewtonProblem:
        """The problem of some of the pairs."""

    def at(self, f: Tensor) -> NewtonState:
        """The state at potentials (n, r_a)."""

    def change(self, now: NewtonState, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Newton's damped step: the potentials after it, the change that the slope predicts, whether it exists."""

    def otherwise(self, now: NewtonState) -> Tensor:
        """Potentials after an iteration that always makes progress."""


@torch.no_grad()
def newton_plan(
    exponent: Float[Tensor, "n r_a r_b"],
    mu_a: Float[Tensor, "n r_a"],
    mu_b: Float[Tensor, "n r_b"],
    f: Float[Tensor, "n r_a"],
    tolerance: float,
    limit: int,
) -> tuple[Float[Tensor, "n r_a r_b"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The plans of n pairs, their numbers of steps, and the L1 distances of row sums to mu_a; columns sum to mu_b.

    Every pair stops on its own, once that distance is within the tolerance, or after `limit` steps.

    Args:
        exponent: -cost / eps, float64.
        mu_a, mu_b: each row summing to 1; zero entries are allowed.
        f: starting point, as left by Sinkhorn's iterations; -inf where mu_a is 0.
        tolerance: L1; about 1e-13 can be reached.

    >>> exponent = torch.tensor([[[0.0, -1.0], [-3.0, 0.0]]], dtype=torch.float64)
    >>> half = torch.full((1, 2), 0.5, dtype=torch.float64)
    >>> plan, steps, error = newton_plan(exponent, half, half, 0 * half, 1e-12, 20)
    >>> plan.sum(dim=2)
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """
    return solve(_FullTransport(exponent, mu_a, mu_b), f, tolerance, limit)


@torch.no_grad()
def solve(
    problem: NewtonProblem, f: Float[Tensor, "n r_a"], tolerance: float, limit: int
) -> tuple[Float[Tensor, "n r_a r_b"], Int[Tensor, " n"], Float[Tensor, " n"]]:
    """The plans of n pairs, their numbers of steps and their errors; every pair stops on its own."""
    n, r_a, r_b = problem.exponent.shape
    size = max(1, CELLS // (r_a * max(r_a, r_b)))
    pieces = [slice(start, start + size) for start in range(0, max(n, 1), size)]
    found = [_solve_piece(problem[at], f[at], tolerance, limit) for at in pieces]
    plan, steps, error = (torch.cat(parts) for parts in zip(*found, strict=True))
    return plan, steps, error


def _solve_piece(problem: NewtonProblem, f: Tensor, tolerance: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    state = problem.at(f)
    damping = torch.ones_like(state.error)
    plan, error = state.plan.clone(), state.error.clone()
    steps = torch.zeros(len(f), dtype=torch.int64, device=f.device)
    pairs = torch.arange(len(f), device=f.device)  # not yet done
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


def _step(problem: NewtonProblem, now: NewtonState, damping: Tensor) -> tuple[NewtonState, Tensor]:
    f, promised, made = problem.change(now, damping)
    found = problem.at(f)
    good = made & ((found.value <= now.value + ENOUGH * promised) | (found.error <= now.error / 2))
    if not good.all():
        found = found.where(good, problem.at(problem.otherwise(now)))
    return found, torch.where(good, EASIER * damping, HARDER * damping)


def solved(curvature: Tensor, diagonal: Tensor, fixed: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The solution (n, r) of `(curvature + diagonal) change = -slope`, 0 where fixed, and whether it exists.

    Fixed rows of the curvature (n, r, r) must be 0; the tensor is overwritten.
    """
    curvature.diagonal(dim1=1, dim2=2).add_(diagonal.masked_fill(fixed, 1))
    factor, failed = torch.linalg.cholesky_ex(curvature)
    change = torch.cholesky_solve(-slope[:, :, None], factor)[:, :, 0]
    return change.masked_fill(fixed, 0), failed == 0


class _FullTransport:
    """All mass is moved."""

    def __init__(self, exponent: Tensor, mu_a: Tensor, mu_b: Tensor) -> None:
        self.exponent, self.mu_a, self.mu_b = exponent, mu_a, mu_b

    def __getitem__(self, pairs: Tensor | slice) -> _FullTransport:
        return _FullTransport(self.exponent[pairs], self.mu_a[pairs], self.mu_b[pairs])

    def at(self, f: Tensor) -> NewtonState:
        together = self.exponent + f[:, :, None]
        logs = together.logsumexp(dim=1)
        g = self.mu_b.log() - logs
        plan = (together + g[:, None]).exp()
        sums = plan.sum(dim=2)
        # 0 log 0 is 0.
        value = (self.mu_b * logs).sum(dim=1) - (self.mu_a * f.masked_fill(self.mu_a == 0, 0)).sum(dim=1)
        return NewtonState(f, g, value, plan, sums, (sums - self.mu_a).abs().sum(dim=1))

    def change(self, now: NewtonState, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slope = now.sums - self.mu_a
        per_column = torch.where(self.mu_b > 0, 1 / self.mu_b, 0)
        curvature = -(now.plan * per_column[:, None]) @ now.plan.mT
        # Adding a constant to every f changes nothing: this term keeps the step free of such a component.
        curvature += 1 / curvature.shape[1] ** 2
        diagonal = now.sums + (damping * now.error)[:, None] * self.mu_a
        change, made = solved(curvature, diagonal, self.mu_a == 0, slope)
        return now.f + change, (slope * change).sum(dim=1), made

    def otherwise(self, now: NewtonState) -> Tensor:
        return self.mu_a.log() - (self.exponent + now.g[:, None]).logsumexp(dim=2)
