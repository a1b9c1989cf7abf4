"""Partial transport: only a share of the mass moves, so that parts without a counterpart need not be matched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.matching.transport import CHUNK, TransportPlan, check_problem, iterate, store

# Where (largest - smallest cost) / eps exceeds this, products of three exponentials leave float64: log domain.
MAX_RANGE = 200.0

# log of (matrix @ exp(potential)), pair by pair.
Product = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def partial_plan(
    local_similarity: Float[Tensor, "*n r_a r_b"],
    mu_a: Float[Tensor, "*n r_a"],
    mu_b: Float[Tensor, "*n r_b"],
    mass: float,
    eps: float = 0.05,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
) -> TransportPlan:
    """The plan of least cost `1 - S` that moves only `mass` of 1, blurred by entropy.

    `T = argmin of sum T_ij (1 - S_ij) + eps * sum T_ij (log T_ij - 1)` over all `T >= 0` with row sums `<= mu_a`,
    column sums `<= mu_b` and total `mass` (Benamou et al. 2015, section 5). What stays behind goes to a dummy row and a
    dummy column without cost or entropy, and the dummies exchange nothing. The result holds `T / mass`, which sums to
    1, so that `sum T_ij S_ij` of it is a mean similarity, -1..1, of what is moved.

    The dual is ascended in two blocks, the rows with the total and the columns with the total, each solved exactly:
    for mass 1 these are Sinkhorn's iterations, and the plan is `transport_plan`'s. Every pair stops by itself, and the
    arithmetic is float64, as in the log domain there. The plan carries no gradient.

    Args:
        local_similarity, mu_a, mu_b, eps: as in `transport_plan`.
        mass: what is moved, above 0 and up to 1.
        tolerance: largest L1 distance of the row sums of `T / mass` from those that the other side's potentials ask of
            them; 0 at the optimum, and the error of the marginals for mass 1.
        max_iterations: where an unconverged pair stops; the result says so.

    Returns:
        Plans that sum to 1, with row sums `<= mu_a / mass` (within `error`) and column sums `<= mu_b / mass`.

    Raises:
        UsageError: as `transport_plan`, and a mass out of its range.

    >>> similarity = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    >>> half = torch.tensor([0.5, 0.5])
    >>> partial_plan(similarity, half, half, mass=0.5).plan.round(decimals=3)
    tensor([[1., 0.],
            [0., 0.]])
    """
    check_mass(mass)
    check_problem(local_similarity, mu_a, mu_b, eps, tolerance, max_iterations)
    batch, (r_a, r_b) = local_similarity.shape[:-2], local_similarity.shape[-2:]
    double = torch.float32 if local_similarity.device.type == "mps" else torch.float64
    similarity = local_similarity.reshape(-1, r_a, r_b).to(double)
    rows, columns = mu_a.reshape(-1, r_a).to(double), mu_b.reshape(-1, r_b).to(double)
    n = len(similarity)
    result = TransportPlan(
        torch.empty_like(similarity),
        torch.zeros(n, dtype=torch.int64, device=similarity.device),
        similarity.new_zeros(n),
        torch.zeros(n, dtype=torch.bool, device=similarity.device),
    )
    for start in range(0, n, CHUNK):
        piece = slice(start, start + CHUNK)
        exponent = (similarity[piece] - similarity[piece].amax(dim=(1, 2), keepdim=True)) / eps
        wide = exponent.amin(dim=(1, 2)) < -MAX_RANGE
        for where, matrix, product in ((~wide, exponent.exp(), _product), (wide, exponent, _log_product)):
            if where.any():
                problem = _Problem(matrix[where], product, rows[piece][where], columns[piece][where], mass)
                store(problem.solve(exponent[where], tolerance, max_iterations), result[piece], where)
    dtype = torch.promote_types(local_similarity.dtype, torch.float32)
    return TransportPlan(
        result.plan.reshape(*batch, r_a, r_b).to(dtype),
        result.iterations.reshape(batch),
        result.error.reshape(batch).to(dtype),
        result.converged.reshape(batch),
    )


def check_mass(mass: float) -> None:
    if not 0 < mass <= 1:
        raise UsageError(f"mass {mass} came; expected a share of the mass above 0 and up to 1")


class _Problem:
    """Pairs to be solved by alternating between the rows' potentials f and the columns' g, both <= 0.

    `T = scale * exp(f_i + g_j - cost_ij / eps)`; a potential is 0 where the side's sum stays below its bound, and the
    scale is what gives the total.
    """

    def __init__(self, matrix: Tensor, product: Product, mu_a: Tensor, mu_b: Tensor, mass: float) -> None:
        self.matrix, self.transposed, self.product = matrix, matrix.mT.contiguous(), product
        self.mu_a, self.mu_b, self.mass = mu_a, mu_b, mass

    def solve(self, exponent: Tensor, tolerance: float, limit: int) -> TransportPlan:
        sums = self.product(self.matrix, torch.zeros_like(self.mu_b))
        f = _capped(sums, self.mu_a, self.mass)[0]
        f, g, iterations, error = iterate(self._start, self._step, f, self.mu_b.shape, tolerance, limit)
        plan = (f[:, :, None] + exponent + g[:, None, :]).flatten(1).softmax(dim=1).reshape(exponent.shape)
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

    Without the logarithms, `sum_i min(c z_i, mu_i)` is the least, over all sets of cells, of the mu in the set plus c
    times the z outside, and a beginning of the order of `mu_i / z_i` attains it. So `c` is the largest, over k, of
    `(mass - mu of the first k) / (z of the rest)`.
    """
    ratio = mu.log() - sums
    order = ratio.argsort(dim=-1, stable=True)
    full = mu.gather(-1, order).cumsum(dim=-1) - mu.gather(-1, order)
    rest = sums.gather(-1, order).flip(-1).logcumsumexp(dim=-1).flip(-1)
    scale = ((mass - full).clamp(min=0).log() - rest).amax(dim=-1, keepdim=True)
    return (ratio - scale).clamp(max=0), scale


def _product(kernel: Tensor, potential: Tensor) -> Tensor:
    """A fixed order of summation per pair, so that its result is the same in every batch."""
    return (kernel * potential.exp()[:, None, :]).sum(dim=-1).log()


def _log_product(exponent: Tensor, potential: Tensor) -> Tensor:
    return (exponent + potential[:, None, :]).logsumexp(dim=-1)
