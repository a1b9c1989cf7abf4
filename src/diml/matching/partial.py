"""Partial transport: only a share of the mass is moved, so that parts without a counterpart need not be matched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.matching.defaults import EPS, MAX_ITERATIONS, TOLERANCE
from diml.matching.newton import NewtonState, solve, solved
from diml.matching.transport import TransportPlan, check_problem, double_of, iterate, solve_in_chunks, store

# If (largest - smallest cost) / eps exceeds this, products of three exponentials leave float64: use the log domain.
MAX_RANGE = 200.0

# log of (matrix @ exp(potential)) for each pair.
Product = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def partial_plan(
    local_similarity: Float[Tensor, "*n r_a r_b"],
    mu_a: Float[Tensor, "*n r_a"],
    mu_b: Float[Tensor, "*n r_b"],
    mass: float,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    newton_after: int | None = None,
) -> TransportPlan:
    """The plan of least cost `1 - S` that moves a total of `mass`, blurred by entropy.

    `T = argmin of sum T_ij (1 - S_ij) + eps * sum T_ij (log T_ij - 1)` over all `T >= 0` with row sums `<= mu_a`,
    column sums `<= mu_b` and total `mass` (Benamou et al. 2015, section 5). The remaining mass goes to a dummy row and
    a dummy column without cost or entropy, which exchange nothing with each other. The result is `T / mass`, which
    sums to 1, so its `sum T_ij S_ij` is the mean similarity, -1..1, of what is moved.

    The dual is maximised in two alternating blocks, the rows with the total and the columns with the total, each solved
    exactly. For mass 1 these are Sinkhorn's iterations, and the plan is that of `transport_plan`. Every pair stops on
    its own. The arithmetic is float64. The plan carries no gradient.

    Args:
        local_similarity, mu_a, mu_b, eps: as in `transport_plan`.
        mass: the mass that is moved, above 0 and up to 1.
        tolerance: largest L1 distance between the row sums of `T / mass` and those that the potentials of the other
            side imply; 0 at the optimum. For mass 1 it is the error of the marginals.
        max_iterations: where a pair that has not converged stops; the result says so.
        newton_after: as in `transport_plan`. The dual is then a function of the rows' potentials, which stay <= 0.

    Returns:
        Plans that sum to 1, with row sums `<= mu_a / mass` (within `error`) and column sums `<= mu_b / mass`.

    Raises:
        UsageError: as in `transport_plan`, or for a mass out of its range.

    >>> similarity = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    >>> half = torch.tensor([0.5, 0.5])
    >>> partial_plan(similarity, half, half, mass=0.5).plan.round(decimals=3)
    tensor([[1., 0.],
            [0., 0.]])
    """
    check_mass(mass)
    check_problem(local_similarity, mu_a, mu_b, eps, tolerance, max_iterations, newton_after)

    def solve_chunk(similarity: Tensor, rows: Tensor, columns: Tensor, out: TransportPlan) -> None:
        exponent = (similarity - similarity.amax(dim=(1, 2), keepdim=True)) / eps
        wide = exponent.amin(dim=(1, 2)) < -MAX_RANGE
        for where, matrix, product in ((~wide, exponent.exp(), scaled_product), (wide, exponent, log_domain_product)):
            if where.any():
                problem = _Alternation(matrix[where], product, rows[where], columns[where], mass)
                store(problem.solve(exponent[where], tolerance, max_iterations, newton_after), out, where)

    return solve_in_chunks(local_similarity, mu_a, mu_b, double_of(local_similarity.device), solve_chunk)


class _PartialTransport:
    """A share of the mass is moved, for Newton's steps: `phi(f)` for f <= 0, at the best g and scale.

    `phi'(f) = sums - mu_a`. Full columns, g_j < 0, contribute to the curvature as if all mass were moved; the others
    share the remaining mass in any proportion. f_i is fixed if it is 0 and its row is not full.
    """

    def __init__(self, exponent: Tensor, mu_a: Tensor, mu_b: Tensor, mass: float) -> None:
        self.exponent, self.mu_a, self.mu_b, self.mass = exponent, mu_a, mu_b, mass

    def __getitem__(self, pairs: Tensor | slice) -> _PartialTransport:
        return _PartialTransport(self.exponent[pairs], self.mu_a[pairs], self.mu_b[pairs], self.mass)

    def at(self, f: Tensor) -> NewtonState:
        logs = (self.exponent + f[:, :, None]).logsumexp(dim=1)
        g, scale = _capped(logs, self.mu_b, self.mass)
        plan = (scale[:, :, None] + f[:, :, None] + self.exponent + g[:, None]).exp()
        sums = plan.sum(dim=2)
        held = [(mu * p.masked_fill(mu == 0, 0)).sum(dim=1) for mu, p in ((self.mu_a, f), (self.mu_b, g))]
        value = -held[0] - held[1] - self.mass * scale[:, 0]
        asked = (self.exponent + g[:, None]).logsumexp(dim=2)
        after, wanted = _capped(asked, self.mu_a, self.mass)
        error = (sums - (wanted + after + asked).exp()).abs().sum(dim=1) / self.mass
        return NewtonState(f, g, value, plan, sums, error)

    def change(self, now: NewtonState, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slope = now.sums - self.mu_a
        fixed = (self.mu_a == 0) | ((now.f >= 0) & (slope <= 0))
        full = (now.g < 0) & (self.mu_b > 0)
        per_column = torch.where(full, 1 / self.mu_b, 0)
        curvature = -(now.plan * per_column[:, None]) @ now.plan.mT
        open_ = (now.plan * ~full[:, None]).sum(dim=2)
        left = open_.sum(dim=1)
        curvature -= open_[:, :, None] * open_[:, None] * torch.where(left > 0, 1 / left, 0)[:, None, None]
        curvature = curvature.masked_fill(fixed[:, :, None] | fixed[:, None], 0)
        diagonal = now.sums + (1e-12 + damping * now.error)[:, None] * self.mu_a
        change, made = solved(curvature, diagonal, fixed, slope)
        f = (now.f + change).clamp(max=0)
        return f, (slope * (f - now.f).masked_fill(fixed, 0)).sum(dim=1), made

    def otherwise(self, now: NewtonState) -> Tensor:
        return _capped((self.exponent + now.g[:, None]).logsumexp(dim=2), self.mu_a, self.mass)[0]


def check_mass(mass: float) -> None:
    if not 0 < mass <= 1:
        raise UsageError(f"expected mass above 0 and up to 1, got {mass}")


class _Alternation:
    """Pairs solved by alternating between the potentials f of the rows and g of the columns, both <= 0.

    `T = scale * exp(f_i + g_j - cost_ij / eps)`. A potential is 0 where the sum stays below its bound, and the scale
    gives the total.
    """

    def __init__(self, matrix: Tensor, product: Product, mu_a: Tensor, mu_b: Tensor, mass: float) -> None:
        self.matrix, self.transposed, self.product = matrix, matrix.mT.contiguous(), product
        self.mu_a, self.mu_b, self.mass = mu_a, mu_b, mass

    def solve(self, exponent: Tensor, tolerance: float, limit: int, newton_after: int | None) -> TransportPlan:
        sums = self.product(self.matrix, torch.zeros_like(self.mu_b))
        f = _capped(sums, self.mu_a, self.mass)[0]
        first = limit if newton_after is None else min(limit, newton_after)
        f, g, iterations, error = iterate(self._start, self._step, f, self.mu_b.shape, tolerance, first)
        plan = (f[:, :, None] + exponent + g[:, None, :]).flatten(1).softmax(dim=1).reshape(exponent.shape)
        open_ = error > tolerance
        if first < limit and open_.any() and exponent.dtype == torch.float64:
            problem = _PartialTransport(exponent[open_], self.mu_a[open_], self.mu_b[open_], self.mass)
            plan[open_], steps, error[open_] = solve(problem, f[open_], tolerance, limit - first)
            plan[open_] /= plan[open_].sum(dim=(1, 2), keepdim=True)
            iterations[open_] += steps
        return TransportPlan(plan, iterations, error, error <= tolerance)

    def _start(self, pairs: Tensor | slice) -> tuple[Tensor, ...]:
        return self.matrix[pairs], self.transposed[pairs], self.mu_a[pairs], self.mu_b[pairs]

    def _step(self, state: tuple[Tensor, ...], f: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        matrix, transposed, mu_a, mu_b = state
        g, scale = _capped(self.product(transposed, f), mu_b, self.mass)
        sums = self.product(matrix, g)
        after, wanted = _capped(sums, mu_a, self.mass)
        moved, allowed = (scale + f + sums).exp(), (wanted + after + sums).exp()
        return f, g, after, (moved - allowed).abs().sum(dim=-1) / self.mass


def _capped(sums: Tensor, mu: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """Potentials p <= 0 and a log scale c with `exp(c + p + sums) = min(exp(c + sums), mu)`, of total `mass`.

    Without the logarithms, `sum_i min(c z_i, mu_i)` is the minimum, over all sets of cells, of the mu in the set plus c
    times the z outside it, and it is attained by a prefix of the cells ordered by `mu_i / z_i`. So `c` is the maximum
    over k of `(mass - mu of the first k) / (z of the rest)`.
    """
    ratio = mu.log() - sums
    order = ratio.argsort(dim=-1, stable=True)
    full = mu.gather(-1, order).cumsum(dim=-1) - mu.gather(-1, order)
    rest = sums.gather(-1, order).flip(-1).logcumsumexp(dim=-1).flip(-1)
    scale = ((mass - full).clamp(min=0).log() - rest).amax(dim=-1, keepdim=True)
    return (ratio - scale).clamp(max=0), scale


def scaled_product(kernel: Tensor, potential: Tensor) -> Tensor:
    """log of `kernel @ exp(potential)`, summed in a fixed order per pair, so that it is the same in every batch."""
    return (kernel * potential.exp()[:, None, :]).sum(dim=-1).log()


def log_domain_product(exponent: Tensor, potential: Tensor) -> Tensor:
    return (exponent + potential[:, None, :]).logsumexp(dim=-1)
