"""Partial transport against POT, against its optimality conditions, and against the full plan for mass 1."""

import json
from itertools import pairwise

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, partial_plan, top_k, transport_plan
from diml.matching import partial as partial_module
from diml.model import StructuralModel

EXACT = {"tolerance": 1e-11, "max_iterations": 200_000}
# By the alternation alone, and with Newton's steps from the third iteration on.
BOTH_WAYS = pytest.mark.parametrize("newton_after", [None, 3])


def random_problem(seed, n=1, r_a=9, r_b=7, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, r_a, 6, generator=g, dtype=dtype), torch.randn(n, r_b, 6, generator=g, dtype=dtype)
    s = torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).mT
    mu_a, mu_b = (torch.rand(n, r, generator=g, dtype=dtype) + 0.01 for r in (r_a, r_b))
    return s, mu_a / mu_a.sum(1, keepdim=True), mu_b / mu_b.sum(1, keepdim=True)


def random_maps(seed, n, grid=(3, 3), dim=16):
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(n, 1, dim, generator=g)
    return FeatureMaps(base + torch.randn(n, grid[0] * grid[1], dim, generator=g), grid)


@BOTH_WAYS
@pytest.mark.parametrize("mass", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("eps", [0.05, 0.5])
def test_agrees_with_pot_entropic(mass, eps, newton_after):
    s, mu_a, mu_b = random_problem(0)
    ours = partial_plan(s[0], mu_a[0], mu_b[0], mass, eps, **EXACT, newton_after=newton_after)
    theirs = ot.partial.entropic_partial_wasserstein(
        mu_a[0].numpy(), mu_b[0].numpy(), 1 - s[0].numpy(), eps, m=mass, numItermax=100_000, stopThr=1e-14
    )
    assert bool(ours.converged)
    np.testing.assert_allclose(ours.plan.numpy(), theirs / mass, atol=1e-8)


@BOTH_WAYS
@pytest.mark.parametrize("mass", [0.2, 0.6, 0.95])
def test_small_eps_meets_the_exact_cost(mass, newton_after):
    s, mu_a, mu_b = random_problem(1)
    eps = 2e-3
    limits = {"tolerance": 1e-8, "max_iterations": 200_000, "newton_after": newton_after}
    ours = partial_plan(s[0], mu_a[0], mu_b[0], mass, eps, **limits)
    exact = ot.partial.partial_wasserstein2(mu_a[0].numpy(), mu_b[0].numpy(), 1 - s[0].numpy(), m=mass)
    assert bool(ours.converged)
    cost = mass * (ours.plan * (1 - s[0])).sum().item()
    # The entropic plan costs at most eps * mass * log(r_a r_b) more than the exact one.
    assert exact - 1e-7 <= cost <= exact + eps * mass * np.log(63)


@BOTH_WAYS
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    mass=st.sampled_from([0.05, 0.3, 0.7, 0.99, 1.0]),
    eps=st.sampled_from([0.02, 0.05, 0.3, 5.0]),
    shape=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_the_conditions_of_the_optimum_hold(newton_after, seed, mass, eps, shape):
    """Feasible, of the form c exp((f_i + g_j + S_ij) / eps) with f, g <= 0, and below 0 only where a bound binds."""
    s, mu_a, mu_b = random_problem(seed, 1, *shape)
    result = partial_plan(s[0], mu_a[0], mu_b[0], mass, eps, **EXACT, newton_after=newton_after)
    assert bool(result.converged)
    plan = mass * result.plan
    assert plan.sum().item() == pytest.approx(mass, abs=1e-12)
    potential = plan.log() - s[0] / eps
    f, g = potential[:, :1], potential[:1, :]
    torch.testing.assert_close(potential, f + g - potential[0, 0], atol=1e-6, rtol=0)
    for values, sums, mu in ((f[:, 0], plan.sum(1), mu_a[0]), (g[0], plan.sum(0), mu_b[0])):
        assert (sums <= mu + 1e-9).all()
        if mass < 1:
            slack = sums < mu - 1e-7
            # A potential is maximal where the sum stays below its bound.
            assert (values[slack] >= values.max() - 1e-5).all()


def test_mass_1_is_the_plain_plan():
    s, mu_a, mu_b = random_problem(2, 20)
    plain = transport_plan(s, mu_a, mu_b, **EXACT)
    whole = partial_plan(s, mu_a, mu_b, 1.0, **EXACT)
    torch.testing.assert_close(whole.plan, plain.plan, atol=1e-10, rtol=0)
    assert (whole.iterations - plain.iterations).abs().max() <= 1
    rough = partial_plan(s, mu_a, mu_b, 1.0)
    error = (rough.plan.sum(2) - mu_a).abs().sum(1) + (rough.plan.sum(1) - mu_b).abs().sum(1)
    torch.testing.assert_close(rough.error, error, atol=1e-10, rtol=0)


def test_parts_without_a_counterpart_stay_behind():
    """Three of four parts have a counterpart; with three quarters of the mass the fourth is not matched."""
    s = torch.eye(4)
    s[3, 3] = -1
    quarter = torch.full((4,), 0.25)
    partial = partial_plan(s, quarter, quarter, mass=0.75, tolerance=1e-6)
    assert partial.plan[3].sum() < 1e-6
    torch.testing.assert_close(partial.plan[:3, :3], torch.eye(3) / 3, atol=1e-6, rtol=0)
    assert (partial.plan * s).sum() > 0.999
    assert (transport_plan(s, quarter, quarter).plan * s).sum() < 0.8


@BOTH_WAYS
def test_swapping_the_images_transposes_the_plan(newton_after):
    s, mu_a, mu_b = random_problem(3, 5)
    how = {**EXACT, "newton_after": newton_after}
    one, other = partial_plan(s, mu_a, mu_b, 0.6, **how), partial_plan(s.mT, mu_b, mu_a, 0.6, **how)
    torch.testing.assert_close(one.plan, other.plan.mT, atol=1e-9, rtol=0)


@BOTH_WAYS
def test_a_pair_does_not_depend_on_its_batch(newton_after):
    s, mu_a, mu_b = random_problem(4, 9)
    s[2] *= 30  # solved in the log domain
    how = {"eps": 0.1, "newton_after": newton_after}
    batch = partial_plan(s, mu_a, mu_b, 0.7, **how)
    for k in range(9):
        alone = partial_plan(s[k], mu_a[k], mu_b[k], 0.7, **how)
        assert torch.equal(alone.plan, batch.plan[k])
        assert int(alone.iterations) == int(batch.iterations[k])


def test_both_domains_give_the_same_plan(monkeypatch):
    s, mu_a, mu_b = random_problem(5, 8)
    scaling = partial_plan(s, mu_a, mu_b, 0.8, **EXACT)
    monkeypatch.setattr(partial_module, "MAX_RANGE", 0.0)
    torch.testing.assert_close(partial_plan(s, mu_a, mu_b, 0.8, **EXACT).plan, scaling.plan, atol=1e-10, rtol=0)


@BOTH_WAYS
@pytest.mark.parametrize("mass", [1e-6, 0.5, 1.0])
def test_edges_stay_finite(mass, newton_after):
    zero = torch.zeros(2, 4, 5)
    mu_a, mu_b = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0]]), torch.full((2, 5), 0.2)
    plan = partial_plan(zero, mu_a, mu_b, mass, newton_after=newton_after)
    assert plan.plan.isfinite().all()
    assert plan.converged.all()
    assert (plan.plan[0, 1:] == 0).all()
    assert partial_plan(torch.ones(1, 1, 1), torch.ones(1, 1), torch.ones(1, 1), mass).plan.item() == pytest.approx(1)
    half, how = torch.full((2,), 0.5), {"eps": 1e-4, "newton_after": newton_after}
    wide = partial_plan(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), half, half, mass, **how)
    assert wide.plan.isfinite().all()
    assert wide.plan.sum().item() == pytest.approx(1, abs=1e-6)
    assert partial_plan(zero[:0], mu_a[:0], mu_b[:0], mass).plan.shape == (0, 4, 5)


@pytest.mark.slow
def test_newton_arrives_where_the_alternation_does_not():
    s, mu_a, mu_b = random_problem(7, 30, 16, 16)
    for mass in (0.4, 0.9):
        slow = partial_plan(s, mu_a, mu_b, mass, eps=2e-3, tolerance=1e-6, max_iterations=3000)
        fast = partial_plan(s, mu_a, mu_b, mass, eps=2e-3, tolerance=1e-6, max_iterations=500, newton_after=20)
        assert not slow.converged.all()
        assert fast.converged.all()
        both = slow.converged & fast.converged
        torch.testing.assert_close(fast.plan[both], slow.plan[both], atol=1e-4, rtol=0)


def test_not_converged_says_so():
    s, mu_a, mu_b = random_problem(6, 3)
    result = partial_plan(s, mu_a, mu_b, 0.9, eps=1e-3, tolerance=1e-9, max_iterations=2)
    assert not result.converged.any()
    assert (result.iterations == 2).all()
    assert (result.error > 1e-9).all()


@pytest.mark.parametrize("mass", [0.0, -0.5, 1.01, float("nan")])
def test_a_mass_out_of_range_is_refused(mass):
    with pytest.raises(UsageError, match="mass"):
        partial_plan(*(t[0] for t in random_problem(0)), mass)
    with pytest.raises(UsageError, match="mass"):
        Matcher(mass=mass)


class TestMatcher:
    @pytest.mark.parametrize("scheme", ["uniform", "cross_correlation"])
    def test_all_ways_give_the_same_number(self, scheme):
        a, b = random_maps(0, 5), random_maps(1, 6, (2, 4))
        matcher = Matcher(scheme, mass=0.7).tight()
        i, j = torch.tensor([0, 4, 2]), torch.tensor([5, 0, 2])
        match, matrix = matcher.match(a[i], b[j]), matcher.similarity(a, b)
        torch.testing.assert_close(match.similarity, matcher.pairs(a, b, i, j).similarity)
        torch.testing.assert_close(match.similarity, matrix[i, j])
        torch.testing.assert_close(match.plan, matcher.plans(a, b, i, j).plan)
        torch.testing.assert_close(torch.cat([tile.similarity for tile in matcher.tiles(a, b)]), matrix)
        assert match.residual.abs().max() < 1e-6
        torch.testing.assert_close(match.plan.sum(dim=(1, 2)), torch.ones(3))

    def test_contributions_sum_to_the_similarity(self):
        a, b = random_maps(2, 4).to(torch.float64), random_maps(3, 4).to(torch.float64)
        match = Matcher("cross_correlation", mass=0.5).tight().match(a, b)
        torch.testing.assert_close(match.contributions.sum(dim=(1, 2)), match.similarity, atol=1e-14, rtol=0)

    def test_less_mass_is_more_similar_at_small_eps(self):
        """The mean over the best matched share cannot decrease when the share shrinks, except for the entropy."""
        a, b = random_maps(4, 3).to(torch.float64), random_maps(5, 3).to(torch.float64)
        scores = [Matcher(mass=mass, eps=5e-3).tight().match(a, b).structural for mass in (1.0, 0.8, 0.5, 0.2)]
        for more, less in pairwise(scores):
            assert (less > more).all()

    def test_the_best_k_are_those_of_all(self):
        a, b, matcher = random_maps(6, 3), random_maps(7, 30), Matcher(mass=0.6).tight()
        found = top_k(matcher, a, b, 4)
        assert torch.equal(found.indices, matcher.similarity(a, b).topk(4).indices)

    def test_gradients_reach_the_maps(self):
        local = random_maps(8, 2).local.requires_grad_()
        Matcher(mass=0.6).similarity(FeatureMaps(local, (3, 3)), random_maps(9, 2)).sum().backward()
        assert local.grad.isfinite().all()
        assert local.grad.abs().sum() > 0


@pytest.mark.slow
def test_the_setting_is_saved_and_older_models_load(tmp_path):
    model = StructuralModel.from_pretrained("timm:test_vit?weights=random").with_matcher(mass=0.8)
    model.save_pretrained(tmp_path)
    assert StructuralModel.from_pretrained(tmp_path).matcher.mass == 0.8
    config = json.loads((tmp_path / "config.json").read_text())
    del config["matching"]["mass"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert StructuralModel.from_pretrained(tmp_path).matcher.mass == 1.0
