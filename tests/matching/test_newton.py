"""Newton's steps: the plans of Sinkhorn's iterations where these converge, and the solution where they do not."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, newton, transport_plan
from diml.matching.newton import newton_plan

AFTER = 20


def problem(seed, n=1, r_a=16, r_b=16, zeros=0):
    """Cosines of maps of few numbers, so that some parts are very similar, and marginals whose first entries are 0."""
    random = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(n, r, 6, generator=random, dtype=torch.float64) for r in (r_a, r_b))
    local = torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).mT
    mu_a, mu_b = (torch.rand(n, r, generator=random, dtype=torch.float64) + 0.01 for r in (r_a, r_b))
    mu_a[:, : min(zeros, r_a - 1)] = 0
    mu_b[:, : min(zeros, r_b - 1)] = 0
    return local, mu_a / mu_a.sum(dim=1, keepdim=True), mu_b / mu_b.sum(dim=1, keepdim=True)


def solved(local, mu_a, mu_b, eps, tolerance=1e-10, limit=10_000, after=AFTER):
    return transport_plan(local, mu_a, mu_b, eps, tolerance, limit, newton_after=after)


@pytest.mark.parametrize("zeros", [0, 3])
@pytest.mark.parametrize("shape", [(16, 16), (49, 16), (5, 196), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize("eps", [0.03, 0.05, 1.0])
def test_plans_are_those_of_many_iterations(eps, shape, zeros):
    local, mu_a, mu_b = problem(0, 8, *shape, zeros)
    slow = transport_plan(local, mu_a, mu_b, eps, 1e-11, 200_000)
    fast = solved(local, mu_a, mu_b, eps)
    assert slow.converged.all()
    assert fast.converged.all()
    torch.testing.assert_close(fast.plan, slow.plan, atol=1e-9, rtol=0)
    assert (fast.iterations <= slow.iterations.clamp(min=AFTER + 20)).all()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    eps=st.sampled_from([2e-3, 5e-3, 0.01, 0.05, 0.3]),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    zeros=st.integers(0, 4),
)
def test_a_plan_that_says_so_is_the_solution(seed, eps, shape, zeros):
    """A plan that scales exp(S / eps) by rows and columns to the marginals is the unique solution."""
    local, mu_a, mu_b = problem(seed, 2, *shape, zeros)
    found = solved(local, mu_a, mu_b, eps, tolerance=1e-9)
    assert found.converged.all()
    error = (found.plan.sum(2) - mu_a).abs().sum(1) + (found.plan.sum(1) - mu_b).abs().sum(1)
    assert (error <= 1e-9 + 1e-12).all()
    torch.testing.assert_close(found.error, error, atol=1e-12, rtol=0)
    assert found.plan[mu_a == 0].eq(0).all()
    assert found.plan.mT[mu_b == 0].eq(0).all()
    # log T - S / eps = f_i + g_j: double differences vanish wherever T is large enough to have significant digits.
    rest = found.plan.log() - local / eps
    at = found.plan.flatten(1).argmax(dim=1)
    i, j = at // shape[1], at % shape[1]
    for k in range(len(local)):
        difference = rest[k] - rest[k, i[k]] - rest[k, :, j[k], None] + rest[k, i[k], j[k]]
        large = found.plan[k] > 1e-200
        known = large & large[i[k]] & large[:, j[k], None]
        assert difference[known].abs().max() < 1e-8


@pytest.mark.slow
def test_it_arrives_where_iterations_do_not():
    local, mu_a, mu_b = problem(1, 20)
    slow = transport_plan(local, mu_a, mu_b, 2e-3, 1e-6, 10_000)
    fast = solved(local, mu_a, mu_b, 2e-3, 1e-6, limit=500)
    assert not slow.converged.all()
    assert fast.converged.all()


@pytest.mark.slow
def test_costs_beyond_the_range_of_float64():
    """The log domain: exp(-cost / eps) is 0 for most of the costs."""
    local, mu_a, mu_b = problem(2, 4, 9, 12)
    found = solved(local, mu_a, mu_b, 5e-4, 1e-9)
    assert found.converged.all()
    assert torch.isfinite(found.plan).all()
    slow = transport_plan(local, mu_a, mu_b, 5e-4, 1e-9, 400_000)
    at = slow.converged
    assert at.any()
    torch.testing.assert_close(found.plan[at], slow.plan[at], atol=1e-7, rtol=0)


@pytest.mark.parametrize("cells", [newton.CELLS, 700])
def test_a_pair_does_not_depend_on_its_batch(cells, monkeypatch):
    local, mu_a, mu_b = problem(3, 40)
    together = solved(local, mu_a, mu_b, 0.02)
    monkeypatch.setattr(newton, "CELLS", cells)
    for at in (0, 17, 39):
        alone = solved(local[at], mu_a[at], mu_b[at], 0.02)
        assert alone.iterations == together.iterations[at]
        torch.testing.assert_close(alone.plan, together.plan[at], atol=1e-15, rtol=0)
    pieces = solved(local, mu_a, mu_b, 0.02)
    torch.testing.assert_close(pieces.plan, together.plan, atol=1e-15, rtol=0)


def test_the_limit_counts_both():
    local, mu_a, mu_b = problem(4, 6)
    for limit in (5, AFTER, AFTER + 1):
        found = solved(local, mu_a, mu_b, 5e-3, 1e-12, limit)
        assert not found.converged.any()
        assert (found.iterations == limit).all()
        torch.testing.assert_close(found.plan.sum(1), mu_b)
    plan, steps, error = newton_plan(local[:0], mu_a[:0], mu_b[:0], mu_a[:0], 1e-9, 5)
    assert plan.shape == (0, 16, 16)
    assert len(steps) == len(error) == 0


def test_float32_problems_are_solved_in_float64():
    local, mu_a, mu_b = (part.float() for part in problem(5, 10))
    found = solved(local, mu_a, mu_b, 0.05, 1e-7)
    assert found.plan.dtype == found.error.dtype == torch.float32
    # Marginals whose sums differ by a rounding of float32 have no plan within 1e-10.
    mu_a, mu_b = (mu.double() / mu.double().sum(1, keepdim=True) for mu in (mu_a, mu_b))
    exact = solved(local.double(), mu_a, mu_b, 0.05)
    assert exact.converged.all()
    torch.testing.assert_close(found.plan.double(), exact.plan, atol=1e-6, rtol=0)


def test_equal_images_are_solved_within_few_steps():
    """Sinkhorn's iterations alone are slow for equal parts and for an image that repeats its parts."""
    random = torch.Generator().manual_seed(6)
    parts = torch.randn(1, 4, 12, generator=random, dtype=torch.float64)
    near = torch.cat([parts, parts + 0.3 * torch.randn(1, 4, 12, generator=random, dtype=torch.float64)], dim=1)
    maps = FeatureMaps(torch.cat([near, near.flip(1)]), (2, 4))
    for scheme in ("uniform", "cross_correlation"):
        match = Matcher(scheme).tight().match(maps[[0, 0, 1]], maps[[0, 1, 1]])
        assert match.converged.all()
        assert (match.transport.error <= 1e-6).all()
        assert (match.transport.iterations < 60).all()
