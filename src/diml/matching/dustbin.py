"""Transport with a dustbin: what is matched worse than a price stays behind, at that price."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import UsageError
from diml.matching.defaults import BIN_SIMILARITY, EPS, MAX_ITERATIONS, TOLERANCE
from diml.matching.newton import NewtonState, solve, solved
from diml.matching.partial import log_domain_product, scaled_product
from diml.matching.transport import TransportPlan, check_problem, double_of, iterate, solve_in_chunks, store

# If the largest |S - c| / eps exceeds this, products of three exponentials leave float64: use the log domain.
MAX_RANGE = 200.0


@torch.no_grad()
def dustbin_plan(
    local_similarity: Float[Tensor, "*n r_a r_b"],
    mu_a: Float[Tensor, "*n r_a"],
    mu_b: Float[Tensor, "*n r_b"],
    bin_similarity: float = BIN_SIMILARITY,
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    newton_after: int | None = None,
) -> TransportPlan:
    """The plan of least cost `1 - S` where each side has one more part, a dustbin of mass 1.

    A part goes to the bin of the other side for the cost `(1 - c) / 2`, the bins exchange mass for nothing, and only
    real cells have entropy. Two parts that stay behind therefore cost what a pair of similarity `c`, the
    `bin_similarity`, costs: a pair that is less alike than about c is not matched. The bins' potentials are 0, so

        T_ij = u_i v_j exp((S_ij - c) / eps),   u_i = min(1, mu_a_i / sum_j v_j K_ij),   v_j likewise,

    which are Sinkhorn's iterations with scalings of at most 1 (the bin of SuperGlue, Sarlin et al. 2020, in its
    unbalanced form, Chizat et al. 2018). The similarity that belongs to the plan is `sum_ij T_ij S_ij + c (1 - sum_ij
    T_ij)`. Every pair stops on its own. The arithmetic is float64. The plan carries no gradient.

    Args:
        local_similarity, mu_a, mu_b, eps: as in `transport_plan`.
        bin_similarity: c, at least -1 and below 1. With -1 everything is matched, up to entropy.
        tolerance: largest L1 distance between the row sums and those that the potentials of the columns imply.
        max_iterations: where a pair that has not converged stops; the result says so.
        newton_after: as in `transport_plan`. The dual is then a function of the rows' potentials, which stay <= 0.

    Returns:
        Plans over real cells: row sums `<= mu_a` (within `error`), column sums `<= mu_b`; what is missing is unmatched.

    Raises:
        UsageError: as in `transport_plan`, or for a bin_similarity out of its range.

    >>> similarity = torch.tensor([[1.0, 0.0], [0.0, -1.0]])
    >>> half = torch.tensor([0.5, 0.5])
    >>> dustbin_plan(similarity, half, half, bin_similarity=0.5).plan.round(decimals=3)
    tensor([[0.5000, 0.0000],
            [0.0000, 0.0000]])
    """
    check_bin_similarity(bin_similarity)
    check_problem(local_similarity, mu_a, mu_b, eps, tolerance, max_iterations, newton_after)

    def solve_chunk(similarity: Tensor, rows: Tensor, columns: Tensor, out: TransportPlan) -> None:
        exponent = (similarity - bin_similarity) / eps
        wide = exponent.abs().amax(dim=(1, 2)) > MAX_RANGE
        for where, in_logs in ((~wide, False), (wide, True)):
            if where.any():
                problem = exponent[where], rows[where], columns[where]
                store(_solved(*problem, tolerance, max_iterations, newton_after, in_logs), out, where)

    return solve_in_chunks(local_similarity, mu_a, mu_b, double_of(local_similarity.device), solve_chunk)


def check_bin_similarity(bin_similarity: float) -> None:
    if not -1 <= bin_similarity < 1:
        raise UsageError(f"expected bin_similarity from -1 to below 1, got {bin_similarity}")


def _solved(
    exponent: Tensor,
    mu_a: Tensor,
    mu_b: Tensor,
    tolerance: float,
    limit: int,
    newton_after: int | None,
    in_logs: bool,
) -> TransportPlan:
    """Alternate between the potentials f of the rows and g of the columns, both <= 0, in units of eps."""
    matrix = exponent if in_logs else exponent.exp()
    transposed = matrix.mT.contiguous()
    product = log_domain_product if in_logs else scaled_product

    def start(pairs: Tensor | slice) -> tuple[Tensor, ...]:
        return matrix[pairs], transposed[pairs], mu_a[pairs], mu_b[pairs]

    def step(state: tuple[Tensor, ...], logs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rows_of, columns_of, mass_a, mass_b = state
        f = (mass_a.log() - logs).clamp(max=0)
        g = (mass_b.log() - product(columns_of, f)).clamp(max=0)
        logs = product(rows_of, g)
        allowed = torch.minimum(logs.exp(), mass_a)
        return f, g, logs, ((f + logs).exp() - allowed).abs().sum(dim=-1)

    first = limit if newton_after is None else min(limit, newton_after)
    zero = torch.zeros_like(mu_b)
    f, g, iterations, error = iterate(start, step, product(matrix, zero), mu_b.shape, tolerance, first)
    plan = (f[:, :, None] + exponent + g[:, None, :]).exp()
    open_ = error > tolerance
    if first < limit and open_.any() and exponent.dtype == torch.float64:
        problem = _DustbinTransport(exponent[open_], mu_a[open_], mu_b[open_])
        plan[open_], steps, error[open_] = solve(problem, f[open_], tolerance, limit - first)
        iterations[open_] += steps
    return TransportPlan(plan, iterations, error, error <= tolerance)


class _DustbinTransport:
    """For Newton's steps: `phi(f)` for f <= 0, at the best g <= 0; `phi'(f) = sums - mu_a`.

    Full columns, g_j < 0, contribute to the curvature as if all mass were moved; the others have fixed potentials. f_i
    is fixed if it is 0 and its row is not full.
    """

    def __init__(self, exponent: Tensor, mu_a: Tensor, mu_b: Tensor) -> None:
        self.exponent, self.mu_a, self.mu_b = exponent, mu_a, mu_b

    def __getitem__(self, pairs: Tensor | slice) -> _DustbinTransport:
        return _DustbinTransport(self.exponent[pairs], self.mu_a[pairs], self.mu_b[pairs])

    def at(self, f: Tensor) -> NewtonState:
        g = (self.mu_b.log() - (self.exponent + f[:, :, None]).logsumexp(dim=1)).clamp(max=0)
        plan = (f[:, :, None] + self.exponent + g[:, None]).exp()
        sums = plan.sum(dim=2)
        held = [(mu * p.masked_fill(mu == 0, 0)).sum(dim=1) for mu, p in ((self.mu_a, f), (self.mu_b, g))]
        value = sums.sum(dim=1) - held[0] - held[1]
        allowed = torch.minimum((self.exponent + g[:, None]).logsumexp(dim=2).exp(), self.mu_a)
        return NewtonState(f, g, value, plan, sums, (sums - allowed).abs().sum(dim=1))

    def change(self, now: NewtonState, damping: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        slope = now.sums - self.mu_a
        fixed = (self.mu_a == 0) | ((now.f >= 0) & (slope <= 0))
        full = (now.g < 0) & (self.mu_b > 0)
        per_column = torch.where(full, 1 / self.mu_b, 0)
        curvature = -(now.plan * per_column[:, None]) @ now.plan.mT
        curvature = curvature.masked_fill(fixed[:, :, None] | fixed[:, None], 0)
        diagonal = now.sums + (1e-12 + damping * now.error)[:, None] * self.mu_a
        change, made = solved(curvature, diagonal, fixed, slope)
        f = (now.f + change).clamp(max=0)
        return f, (slope * (f - now.f).masked_fill(fixed, 0)).sum(dim=1), made

    def otherwise(self, now: NewtonState) -> Tensor:
        return (self.mu_a.log() - (self.exponent + now.g[:, None]).logsumexp(dim=2)).clamp(max=0)
