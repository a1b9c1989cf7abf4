"""Entropic optimal transport between the parts of two images: Sinkhorn's iterations, each pair stopping by itself.

For plans that must be accurate to many digits, Newton's steps take over from them (`diml.matching.newton`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.matching.defaults import EPS, MAX_ITERATIONS, TOLERANCE
from diml.matching.newton import newton_plan

# Pairs are solved a few hundred at a time, so that their kernels stay in the cache.
CHUNK = 512
# Costs divided by a smaller number could leave the range of float32; with the largest, the plan is that of no costs.
LEAST_EPS, MOST_EPS = 1e-9, 1e9
# If (largest - smallest cost) / eps exceeds this, exp(-cost / eps) leaves the range of the type: use the log domain.
MAX_RANGE = {torch.float32: 80.0, torch.float64: 600.0}


@dataclass(frozen=True)
class TransportPlan:
    """Transport plans of n pairs and how well they were solved.

    Attributes:
        plan: (n, r_a, r_b) mass moved from each part of a to each part of b; rows sum to `mu_a`, columns to `mu_b`.
        iterations: (n,) number of Sinkhorn's iterations and Newton's steps of each pair.
        error: (n,) L1 distance of the plan's row and column sums to the marginals.
        converged: (n,) whether the error of the rows is within the tolerance; if not, `max_iterations` was reached. The
            columns are met up to rounding, which counts in `error` but not here. The similarity of a plan that did not
            converge can be above that of any plan with these marginals, or below that of the solution.

    For a single problem (r_a, r_b) the plan is (r_a, r_b) and the other tensors are 0-d.
    """

    plan: Float[Tensor, "*n r_a r_b"]
    iterations: Int[Tensor, "*n"]
    error: Float[Tensor, "*n"]
    converged: Bool[Tensor, "*n"]

    def __getitem__(self, index: slice | Tensor) -> TransportPlan:
        return TransportPlan(self.plan[index], self.iterations[index], self.error[index], self.converged[index])


@torch.no_grad()
def transport_plan(
    local_similarity: Float[Tensor, "*n r_a r_b"],
    mu_a: Float[Tensor, "*n r_a"],
    mu_b: Float[Tensor, "*n r_b"],
    eps: float = EPS,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
    newton_after: int | None = None,
) -> TransportPlan:
    """The plan of least cost `1 - S` between two sets of parts, blurred by entropy.

    `T = argmin over U(mu_a, mu_b) of sum T_ij (1 - S_ij) + eps * sum T_ij (log T_ij - 1)`, by Sinkhorn's iterations
    (Cuturi 2013; Zhao et al. 2021). Every pair stops on its own once the L1 error of its marginals is within the
    tolerance, so a pair's plan does not depend on what else is in the batch. A pair is solved in the log domain, in
    float64, if `exp(-cost / eps)` would leave the range of the type.

    The plan carries no gradient: it is held fixed in training, as in the paper. This gives a surrogate gradient, as the
    similarity is not the objective that the plan minimises; on real features the true gradient differs by about 40 %.

    Args:
        local_similarity: (n, r_a, r_b) or (r_a, r_b), usually cosines in -1..1.
        mu_a: (n, r_a), >= 0, each row summing to 1; zero entries are allowed.
        mu_b: (n, r_b), likewise.
        eps: strength of the entropy, 1e-9 to 1e9, in units of the cost; small values sharpen the plan and need more
            iterations: without `newton_after`, few pairs converge below 0.01.
        tolerance: largest L1 error of the marginals, >= 0. float32 reaches about 1e-6.
        max_iterations: where a pair that has not converged stops; the result says so.
        newton_after: the number of iterations after which Newton's steps take over, in float64; the error then falls
            quadratically (see `diml.matching.newton`). None uses Sinkhorn's iterations alone. Meant for tight
            tolerances, as a step costs more than an iteration. The plan is the same up to the tolerance.

    Raises:
        UsageError: shapes that do not fit, eps too small, a non-finite similarity, marginals that do not sum to 1.

    >>> import torch
    >>> similarity = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> half = torch.tensor([0.5, 0.5])
    >>> result = transport_plan(similarity, half, half)
    >>> result.plan
    tensor([[5.0000e-01, 1.0306e-09],
            [1.0306e-09, 5.0000e-01]])
    >>> bool(result.converged), int(result.iterations)
    (True, 1)
    """
    check_problem(local_similarity, mu_a, mu_b, eps, tolerance, max_iterations, newton_after)

    def solve(similarity: Tensor, rows: Tensor, columns: Tensor, out: TransportPlan) -> None:
        _solve_chunk(similarity, rows, columns, eps, tolerance, max_iterations, newton_after, out)

    dtype = torch.promote_types(local_similarity.dtype, torch.float32)
    return solve_in_chunks(local_similarity, mu_a, mu_b, dtype, solve)


def solve_in_chunks(
    local_similarity: Float[Tensor, "*n r_a r_b"],
    mu_a: Float[Tensor, "*n r_a"],
    mu_b: Float[Tensor, "*n r_b"],
    compute: torch.dtype,
    solve: Callable[[Tensor, Tensor, Tensor, TransportPlan], None],
) -> TransportPlan:
    """The plans of many pairs, a few hundred at a time.

    Args:
        local_similarity, mu_a, mu_b: as in `transport_plan`.
        compute: the dtype to solve in; the result has that of the similarity, float32 or better.
        solve: writes the plans of (n, r_a, r_b), (n, r_a) and (n, r_b) to the last argument.
    """
    batch, (r_a, r_b) = local_similarity.shape[:-2], local_similarity.shape[-2:]
    similarity = local_similarity.reshape(-1, r_a, r_b).to(compute)
    rows, columns = mu_a.reshape(-1, r_a).to(compute), mu_b.reshape(-1, r_b).to(compute)
    n = len(similarity)
    result = TransportPlan(
        torch.empty_like(similarity),
        torch.zeros(n, dtype=torch.int64, device=similarity.device),
        similarity.new_zeros(n),
        torch.zeros(n, dtype=torch.bool, device=similarity.device),
    )
    for start in range(0, n, CHUNK):
        piece = slice(start, start + CHUNK)
        solve(similarity[piece], rows[piece], columns[piece], result[piece])
    dtype = torch.promote_types(local_similarity.dtype, torch.float32)
    return TransportPlan(
        result.plan.reshape(*batch, r_a, r_b).to(dtype),
        result.iterations.reshape(batch),
        result.error.reshape(batch).to(dtype),
        result.converged.reshape(batch),
    )


def double_of(device: torch.device) -> torch.dtype:
    """float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def check_limits(eps: float, tolerance: float, max_iterations: int, newton_after: int | None = None) -> None:
    if not LEAST_EPS <= eps <= MOST_EPS or not tolerance >= 0 or not 1 <= max_iterations < 2**31:
        raise UsageError(
            f"expected eps from {LEAST_EPS} to {MOST_EPS:g}, tolerance >= 0 and max_iterations from 1 to 2^31, "
            f"got eps={eps}, tolerance={tolerance}, max_iterations={max_iterations}"
        )
    if newton_after is not None and newton_after < 1:
        raise UsageError(f"expected newton_after >= 1 or None, got {newton_after}")


def check_problem(
    similarity: Tensor,
    mu_a: Tensor,
    mu_b: Tensor,
    eps: float,
    tolerance: float,
    max_iterations: int,
    newton_after: int | None,
) -> None:
    expected = similarity.shape[:-1], similarity.shape[:-2] + similarity.shape[-1:]
    if similarity.ndim < 2 or (mu_a.shape, mu_b.shape) != expected:
        raise UsageError(
            "expected a local similarity (..., r_a, r_b) with marginals (..., r_a) and (..., r_b), got "
            f"{tuple(similarity.shape)} with {tuple(mu_a.shape)} and {tuple(mu_b.shape)}"
        )
    check_limits(eps, tolerance, max_iterations, newton_after)
    if not torch.isfinite(similarity).all():
        raise UsageError("expected a finite local similarity, got NaN or infinity; check the feature maps")
    for name, mu in (("mu_a", mu_a), ("mu_b", mu_b)):
        mass = mu.sum(dim=-1, dtype=torch.promote_types(mu.dtype, torch.float32))
        if not ((mass - 1).abs() < 1e-2).all() or (mu < 0).any():
            raise UsageError(f"expected {name} to be >= 0 and to sum to 1 for every pair; divide it by its sum")


# Gives plans, and the potential of the rows in units of eps.
Solver = Callable[[Tensor, Tensor, Tensor, float, int], tuple[TransportPlan, Tensor]]


def _solve_chunk(
    similarity: Tensor,
    mu_a: Tensor,
    mu_b: Tensor,
    eps: float,
    tolerance: float,
    limit: int,
    newton_after: int | None,
    out: TransportPlan,
) -> None:
    """Solve one chunk into `out`, each pair in the domain that its range of costs needs."""
    # Subtracting a constant from a pair's costs changes its potentials but not its plan; the smallest cost becomes 0.
    exponent = (similarity - similarity.amax(dim=(1, 2), keepdim=True)) / eps
    wide = exponent.amin(dim=(1, 2)) < -MAX_RANGE[exponent.dtype]
    domains: list[tuple[Tensor, Solver]] = [(~wide, _scaling), (wide, _log_domain)]
    for where, solver in domains:
        if not where.any():
            continue
        at = slice(None) if where.all() else where
        problem = exponent[at], mu_a[at], mu_b[at]
        if newton_after is None or exponent.device.type == "mps":  # which has no float64
            solved, _ = solver(*problem, tolerance, limit)
        else:
            solved, f = solver(*problem, tolerance, min(limit, newton_after))
            _finish(solved, *problem, f, tolerance, limit)
        store(solved, out, at)


def _finish(
    solved: TransportPlan, exponent: Tensor, mu_a: Tensor, mu_b: Tensor, f: Tensor, tolerance: float, limit: int
) -> None:
    """Finish by Newton's steps the pairs that the first iterations left unfinished."""
    open_ = ~solved.converged & (solved.iterations < limit)
    if not open_.any():
        return
    exponent, mu_a, mu_b, f = (part[open_].to(torch.float64) for part in (exponent, mu_a, mu_b, f))
    taken = solved.iterations[open_]
    plan, steps, error = newton_plan(exponent, mu_a, mu_b, f, tolerance, limit - int(taken.max()))
    store(_finished(plan, mu_b, taken + steps, error, tolerance), solved, open_)


def store(solved: TransportPlan, out: TransportPlan, where: Tensor | slice) -> None:
    for target, value in (
        (out.plan, solved.plan),
        (out.iterations, solved.iterations),
        (out.error, solved.error),
        (out.converged, solved.converged),
    ):
        target[where] = value.to(target.dtype)


def _scaling(
    exponent: Tensor, mu_a: Tensor, mu_b: Tensor, tolerance: float, limit: int
) -> tuple[TransportPlan, Tensor]:
    """Matrix scaling `T = diag(u) K diag(v)`, `K = exp(-cost / eps)`: the fast way if K is representable."""
    kernel = exponent.exp()
    transposed = kernel.mT.contiguous()

    def start(pairs: Tensor | slice) -> tuple[Tensor, ...]:
        return kernel[pairs], transposed[pairs], mu_a[pairs], mu_b[pairs]

    def step(state: tuple[Tensor, ...], row_sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        k, k_t, rows, columns = state
        u = rows / row_sums
        v = columns / _times(k_t, u)
        row_sums = _times(k, v)
        return u, v, row_sums, (u * row_sums - rows).abs().sum(dim=-1)

    u, v, iterations, error = iterate(start, step, kernel.sum(dim=-1), mu_b.shape, tolerance, limit)
    return _finished(u[:, :, None] * kernel * v[:, None, :], mu_b, iterations, error, tolerance), u.log()


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    """(n, r, s) times (n, s), summed in a fixed order per pair, so that the result is the same in every batch."""
    return (matrix * vector[:, None, :]).sum(dim=-1)


def _log_domain(
    exponent: Tensor, mu_a: Tensor, mu_b: Tensor, tolerance: float, limit: int
) -> tuple[TransportPlan, Tensor]:
    """The same iterations on potentials `f, g` in units of eps, `T = exp(f + g - cost / eps)`: valid for any range."""
    double = double_of(exponent.device)
    exponent, mu_a, mu_b = exponent.to(double), mu_a.to(double), mu_b.to(double)
    transposed, log_a, log_b = exponent.mT.contiguous(), mu_a.log(), mu_b.log()

    def start(pairs: Tensor | slice) -> tuple[Tensor, ...]:
        return exponent[pairs], transposed[pairs], log_a[pairs], log_b[pairs], mu_a[pairs]

    def step(state: tuple[Tensor, ...], row_sums: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        m, m_t, log_rows, log_columns, rows = state
        f = log_rows - row_sums
        g = log_columns - (m_t + f[:, None, :]).logsumexp(dim=-1)
        row_sums = (m + g[:, None, :]).logsumexp(dim=-1)
        return f, g, row_sums, ((f + row_sums).exp() - rows).abs().sum(dim=-1)

    f, g, iterations, error = iterate(start, step, exponent.logsumexp(dim=-1), mu_b.shape, tolerance, limit)
    return _finished((f[:, :, None] + exponent + g[:, None, :]).exp(), mu_b, iterations, error, tolerance), f


def iterate(
    start: Callable[[Tensor | slice], tuple[Tensor, ...]],
    step: Callable[[tuple[Tensor, ...], Tensor], tuple[Tensor, Tensor, Tensor, Tensor]],
    row_sums: Tensor,
    shape_b: torch.Size,
    tolerance: float,
    limit: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run `step` until each pair's error is within the tolerance; a pair's result is that of its own last step."""
    u, v = torch.zeros_like(row_sums), row_sums.new_zeros(shape_b)
    error = row_sums.new_zeros(len(row_sums))
    iterations = torch.zeros(len(row_sums), dtype=torch.int64, device=row_sums.device)
    pairs = torch.arange(len(row_sums), device=row_sums.device)  # not yet done
    state = start(slice(None))
    for iteration in range(1, limit + 1):
        u_now, v_now, row_sums, error_now = step(state, row_sums)
        open_ = error_now > tolerance
        if iteration == limit:
            open_ = torch.zeros_like(open_)
        if open_.all():
            continue
        done, at = ~open_, pairs[~open_]
        u[at], v[at], error[at], iterations[at] = u_now[done], v_now[done], error_now[done], iteration
        pairs, row_sums = pairs[open_], row_sums[open_]
        if not len(pairs):
            break
        state = start(pairs)
    return u, v, iterations, error


def _finished(plan: Tensor, mu_b: Tensor, iterations: Tensor, row_error: Tensor, tolerance: float) -> TransportPlan:
    # The last half-step meets the columns up to rounding; their remaining error is added to be exact.
    error = row_error + (plan.sum(dim=1) - mu_b).abs().sum(dim=-1)
    return TransportPlan(plan, iterations, error, row_error <= tolerance)
