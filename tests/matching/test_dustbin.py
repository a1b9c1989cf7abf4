"""The dustbin against POT and against its optimality conditions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from diml.errors import UsageError
from diml.matching import dustbin_plan, transport_plan


def problem(n: int = 6, r_a: int = 5, r_b: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    similarity = 2 * torch.rand(n, r_a, r_b, generator=random, dtype=torch.float64) - 1
    mu_a, mu_b = (torch.rand(n, r, generator=random, dtype=torch.float64) + 0.02 for r in (r_a, r_b))
    mu_b[0, 2] = 0
    return similarity, mu_a / mu_a.sum(dim=1, keepdim=True), mu_b / mu_b.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("c", [-1.0, 0.0, 0.4, 0.9])
def test_it_is_the_exact_optimum_of_the_augmented_problem_in_pot(c: float) -> None:
    """With little entropy: one more part of mass 1 on each side, cost (1 - c) / 2, bin to bin 0."""
    import ot

    similarity, mu_a, mu_b = problem()
    solved = dustbin_plan(similarity, mu_a, mu_b, c, eps=1e-3, tolerance=1e-10, max_iterations=2000, newton_after=50)
    assert solved.converged.all()
    for k in range(len(similarity)):
        cost = np.full((6, 8), (1 - c) / 2)
        cost[:5, :7], cost[5, 7] = 1 - similarity[k].numpy(), 0
        masses = [np.append(mu[k].numpy(), 1.0) for mu in (mu_a, mu_b)]
        exact = ot.emd2(*masses, cost)
        plan = solved.plan[k].numpy()
        moved = plan.sum()
        ours = (plan * cost[:5, :7]).sum() + (1 - moved) * (1 - c)
        assert exact - 1e-9 <= ours <= exact + 6e-3  # entropy of at most eps * log(35 / ...) above it


@pytest.mark.parametrize("c", [-0.5, 0.3])
def test_it_is_the_optimum_with_entropy_by_a_general_solver(c: float) -> None:
    """The concave dual, `sum of potentials minus eps sum T`, maximised by L-BFGS-B under the bounds on it."""
    eps = 0.1
    similarity, mu_a, mu_b = problem(n=3, seed=1)
    mu_b[0, 2] = 1e-3
    mu_b = mu_b / mu_b.sum(dim=1, keepdim=True)
    solved = dustbin_plan(similarity, mu_a, mu_b, c, eps=eps, tolerance=1e-12, max_iterations=5000, newton_after=20)
    for k in range(3):
        cost, rows, columns = (1 - similarity[k]).numpy(), mu_a[k].numpy(), mu_b[k].numpy()

        def loss(z: np.ndarray, cost: np.ndarray = cost, rows: np.ndarray = rows, columns: np.ndarray = columns):
            f, g = z[:5], z[5:]
            plan = np.exp((f[:, None] + g - cost) / eps)
            value = eps * plan.sum() - f @ rows - g @ columns
            return value, np.concatenate([plan.sum(1) - rows, plan.sum(0) - columns])

        bound = (1 - c) / 2
        best = minimize(loss, np.zeros(12), jac=True, bounds=[(None, bound)] * 12, method="L-BFGS-B",
                        options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 20_000, "maxfun": 100_000})  # fmt: skip
        plan = np.exp((best.x[:5, None] + best.x[5:] - cost) / eps)
        np.testing.assert_allclose(solved.plan[k].numpy(), plan, atol=2e-7)


def test_laws() -> None:
    similarity, mu_a, mu_b = problem()
    tight = {"tolerance": 1e-11, "max_iterations": 5000, "newton_after": 20}
    solved = dustbin_plan(similarity, mu_a, mu_b, 0.3, **tight)
    assert (solved.plan.sum(dim=2) <= mu_a + 1e-9).all()
    assert (solved.plan.sum(dim=1) <= mu_b + 1e-9).all()
    mirrored = dustbin_plan(similarity.mT, mu_b, mu_a, 0.3, **tight)
    torch.testing.assert_close(mirrored.plan.mT, solved.plan, atol=1e-8, rtol=0)
    moved = [dustbin_plan(similarity, mu_a, mu_b, c, **tight).plan.sum(dim=(1, 2)) for c in (-0.8, 0.0, 0.5, 0.95)]
    for more, less in itertools.pairwise(moved):
        assert (less <= more + 1e-9).all()


def test_where_all_is_worth_matching_it_is_the_full_transport() -> None:
    """Parts that are alike far above the price are matched entirely."""
    random = torch.Generator().manual_seed(3)
    similarity = 0.9 + 0.1 * torch.rand(4, 5, 5, generator=random, dtype=torch.float64)
    mu = torch.full((4, 5), 0.2, dtype=torch.float64)
    tight = {"tolerance": 1e-11, "max_iterations": 5000}
    full, with_bin = transport_plan(similarity, mu, mu, **tight), dustbin_plan(similarity, mu, mu, -1.0, **tight)
    torch.testing.assert_close(with_bin.plan, full.plan, atol=1e-8, rtol=0)


def test_one_pair_of_parts_by_hand() -> None:
    """T = min(1, exp((S - c) / eps)) in closed form: one potential on either side."""
    one = torch.ones(1, 1, dtype=torch.float64)
    for s, c in ((0.2, 0.25), (0.5, 0.25)):
        plan = dustbin_plan(torch.full((1, 1, 1), s, dtype=torch.float64), one, one, c, tolerance=1e-12).plan
        assert abs(float(plan) - min(1.0, float(np.exp((s - c) / 0.05)))) < 1e-9


def test_newtons_steps_and_the_log_domain_give_the_same_plan() -> None:
    similarity, mu_a, mu_b = problem(seed=4)
    alone = dustbin_plan(similarity, mu_a, mu_b, 0.2, eps=0.02, tolerance=1e-10, max_iterations=200_000)
    finished = dustbin_plan(similarity, mu_a, mu_b, 0.2, 0.02, 1e-10, 200_000, newton_after=5)
    assert alone.converged.all()
    assert finished.converged.all()
    torch.testing.assert_close(finished.plan, alone.plan, atol=1e-8, rtol=0)
    wide = dustbin_plan(similarity, mu_a, mu_b, 0.2, 0.004, 1e-8, 2000, newton_after=20)
    assert wide.converged.all()
    assert torch.isfinite(wide.plan).all()


def test_a_pair_does_not_depend_on_its_batch() -> None:
    similarity, mu_a, mu_b = problem(seed=5)
    together = dustbin_plan(similarity, mu_a, mu_b, 0.3)
    for k in range(len(similarity)):
        alone = dustbin_plan(similarity[k], mu_a[k], mu_b[k], 0.3)
        assert torch.equal(alone.plan, together.plan[k])
        assert int(alone.iterations) == int(together.iterations[k])


def test_the_price_is_checked() -> None:
    with pytest.raises(UsageError, match=r"expected bin_similarity from -1 to below 1, got 1\.5"):
        dustbin_plan(*problem(), bin_similarity=1.5)
