"""References that several tests of matching compare with."""

import pytest
import torch

from diml.matching import prepare
from diml.matching.marginals import MARGINALS


def plans_after(local, mu_a, mu_b, eps, iterations):
    """Sinkhorn's iterations as they are defined, all pairs at once; each plan is the one after its own number."""
    kernel, plan = (local / eps).exp(), torch.empty_like(local)
    v = torch.ones_like(mu_b)
    for n in range(1, int(iterations.max()) + 1):
        u = mu_a / (kernel * v[:, None, :]).sum(dim=2)
        v = mu_b / (kernel * u[:, :, None]).sum(dim=1)
        at = iterations == n
        if at.any():
            plan[at] = u[at, :, None] * kernel[at] * v[at, None, :]
    return plan


@pytest.fixture(scope="session")
def after_iterations():
    """A function: structural similarities and plans of pairs in float64 after a number of iterations for each pair.

    Its third result is the precision that float32 allows, in L1 of a plan: weights are correlations divided by their
    sum, so rounding of products has more influence if few or small correlations are positive.
    """

    def solve(maps_a, maps_b, i, j, scheme, iterations, eps=0.05):
        rows_a, rows_b = (prepare(maps.to(torch.float64)).rows for maps in (maps_a, maps_b))
        product = rows_a[i] @ rows_b[j].mT
        local = product[:, :-1, :-1]
        correlations = product[:, :-1, -1], product[:, -1, :-1]
        mu_a, mu_b = (MARGINALS[scheme](each) for each in correlations)
        plan = plans_after(local, mu_a, mu_b, eps, iterations)
        mass = torch.stack([each.clamp(min=0).mean(dim=1) for each in correlations]).amin(dim=0)
        rounding = 2e-6 + 0 * mass if scheme == "uniform" else 2e-6 + 2e-7 / mass
        return (plan * local).sum(dim=(1, 2)), plan, rounding

    return solve
