"""Plans of the compiled kernel: those of float64 for any shapes, marginals and other pairs in the call."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, prepare
from diml.matching.kernels import BackendPlans, BackendSettings, cpu_scores
from diml.matching.marginals import MARGINALS

SCHEMES = ("uniform", "cross_correlation")


def maps(seed, n, parts=16, dim=32, likeness=1.0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(1, 1, dim, generator=g) + torch.randn(n, 1, dim, generator=g)
    return FeatureMaps((likeness * common + torch.randn(n, parts, dim, generator=g)).to(dtype), (1, parts))


def every_pair(a, b):
    return torch.arange(len(a)).repeat_interleave(len(b)), torch.arange(len(b)).repeat(len(a))


def products_of(a, b):
    rows_a, rows_b = prepare(a).rows, prepare(b).rows
    flat = rows_a.flatten(0, 1) @ rows_b.flatten(0, 1).mT
    return flat.view(len(rows_a), rows_a.shape[1], len(rows_b), rows_b.shape[1])


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 70)),
    scheme=st.sampled_from(SCHEMES),
    likeness=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    dtype=st.sampled_from([torch.float32, torch.float16]),
    tolerance=st.sampled_from([1e-3, 1e-6]),
    seed=st.integers(0, 2**20),
)
@example((49, 64, 128), "cross_correlation", 1.0, torch.float16, 1e-6, 0)
@example((1, 16, 16), "cross_correlation", 0.3, torch.float32, 1e-3, 1)
def test_agree_with_float64(after_iterations, shape, scheme, likeness, dtype, tolerance, seed):
    """After the same number of iterations, or one more, in L1 for a mass of 1."""
    r_a, r_b, dim = shape
    a, b = maps(seed, 3, r_a, dim, likeness, dtype), maps(seed + 1, 6, r_b, dim, likeness, dtype)
    i, j = every_pair(a, b)
    matcher = Matcher(scheme, tolerance=tolerance)
    for found in (matcher.plans(a, b, i, j), matcher.plans_of(products_of(a, b), i, j)):
        _, expected, rounding = after_iterations(a, b, i, j, scheme, found.iterations + 1)
        assert found.plan.dtype == torch.float32
        assert found.plan.shape == (18, r_a, r_b)
        assert ((found.plan - expected).abs().sum(dim=(1, 2)) < rounding).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_near_the_solution_at_tight_tolerance(scheme):
    a, b = maps(0, 8), maps(1, 40, 12)
    i, j = every_pair(a, b)
    found = Matcher(scheme, tolerance=1e-6).plans(a, b, i, j)
    exact = Matcher(scheme, tolerance=1e-10, max_iterations=5000).plans(a.to(torch.float64), b.to(torch.float64), i, j)
    assert found.converged.all()
    assert (found.plan - exact.plan).abs().sum(dim=(1, 2)).max() < 1e-5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("parts_a", "parts_b"), [(16, 16), (9, 20), (1, 5), (25, 3)])
def test_meet_their_marginals(scheme, parts_a, parts_b):
    a, b = maps(2, 7, parts_a), maps(3, 30, parts_b)
    i, j = every_pair(a, b)
    product = prepare(a).rows[i] @ prepare(b).rows[j].mT
    mu_a, mu_b = (MARGINALS[scheme](mu).double() for mu in (product[:, :-1, -1], product[:, -1, :-1]))
    for tolerance in (1e-3, 1e-5):
        found = Matcher(scheme, tolerance=tolerance).plans(a, b, i, j)
        rows = (found.plan.sum(dim=2) - mu_a).abs().sum(dim=1)
        columns = (found.plan.sum(dim=1) - mu_b).abs().sum(dim=1)
        assert found.converged.all()
        # The sums of some correlations nearly cancel here, to 0.009: so rounding has more influence.
        assert (rows <= tolerance + 5e-6).all()
        assert (columns <= 1e-5).all()
        assert (found.error - rows - columns).abs().max() < 1e-5
        assert (found.plan >= 0).all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_are_those_of_the_scores(scheme):
    """A loss that multiplies plans with similarities is trained on the numbers that rank images."""
    a, b = maps(4, 9), maps(5, 40, 12)
    i, j = every_pair(a, b)
    scores, plans = Matcher(scheme).pairs(a, b, i, j), Matcher(scheme).plans(a, b, i, j)
    local = (prepare(a).rows[i] @ prepare(b).rows[j].mT)[:, :-1, :-1]
    assert torch.equal(scores.iterations, plans.iterations)
    assert torch.equal(scores.converged, plans.converged)
    torch.testing.assert_close((plans.plan * local).sum(dim=(1, 2)), scores.structural, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_do_not_depend_on_their_company(scheme, monkeypatch):
    a, b = maps(6, 7, 9), maps(7, 40, 12)
    i, j = every_pair(a, b)
    rows_a, rows_b, how = prepare(a).rows, prepare(b).rows, BackendSettings(scheme)
    together = cpu_scores.plan_pairs(rows_a, rows_b, i, j, how)
    shuffled = torch.randperm(len(i), generator=torch.Generator().manual_seed(0))
    again = cpu_scores.plan_pairs(rows_a, rows_b, i[shuffled], j[shuffled], how)
    alone = [cpu_scores.plan_pairs(rows_a, rows_b, i[k : k + 1], j[k : k + 1], how) for k in range(len(i))]
    monkeypatch.setattr(cpu_scores, "PLANS", 37)
    in_pieces = cpu_scores.plan_pairs(rows_a, rows_b, i, j, how)
    for other in (BackendPlans(*(torch.cat(column) for column in zip(*alone, strict=True))), in_pieces):
        assert all(torch.equal(x, y) for x, y in zip(together, other, strict=True))
    assert torch.equal(together.plan[shuffled], again.plan)


def test_swapping_the_images_transposes_the_plan():
    a, b = maps(8, 5), maps(9, 6, 9)
    i, j = every_pair(a, b)
    matcher = Matcher("cross_correlation", tolerance=1e-6)
    there, back = matcher.plans(a, b, i, j), matcher.plans(b, a, j, i)
    torch.testing.assert_close(there.plan, back.plan.mT, atol=2e-6, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_mass_and_no_length(scheme):
    local = torch.randn(4, 6, 20, generator=torch.Generator().manual_seed(0))
    local[1] = 0
    local[2] = -local[0].abs()
    local[3] = local[0] = local[0].abs()
    some = FeatureMaps(local, (2, 3))
    i, j = every_pair(some, some)
    found = Matcher(scheme).plans(some, some, i, j)
    expected = Matcher(scheme, tolerance=1e-9, max_iterations=5000).plans(
        some.to(torch.float64), some.to(torch.float64), i, j
    )
    assert found.plan.isfinite().all()
    assert (found.plan - expected.plan).abs().sum(dim=(1, 2)).max() < 5e-3
    assert (found.plan.sum(dim=(1, 2)) - 1).abs().max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("of_products", [False, True])
def test_costs_too_wide_for_float32_go_to_the_reference(after_iterations, of_products):
    local = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(2))
    local[1] = -local[0]
    wide = FeatureMaps(local, (2, 2))
    i, j = every_pair(wide, wide)
    rows = prepare(wide).rows
    too_wide = cpu_scores.plan_pairs(rows, rows, i, j, BackendSettings("uniform", eps=0.02)).iterations < 0
    assert 0 < too_wide.sum() < len(i)
    matcher = Matcher("uniform", eps=0.02)
    found = matcher.plans_of(products_of(wide, wide), i, j) if of_products else matcher.plans(wide, wide, i, j)
    _, exact, _ = after_iterations(wide, wide, i, j, "uniform", found.iterations + ~too_wide, eps=0.02)
    assert (found.iterations > 0).all()
    assert (found.plan - exact).abs().sum(dim=(1, 2)).max() < 1e-5


def test_of_products_is_that_of_maps_for_every_kind_of_marginals():
    a, b = maps(10, 4, 6), maps(11, 3, 9)
    i, j = every_pair(a, b)
    weights = torch.rand(4, 6) + 0.1, torch.rand(3, 9) + 0.1
    for marginals_ in (*SCHEMES, MARGINALS["cross_correlation"], weights):
        matcher = Matcher(marginals_, tolerance=1e-6)
        torch.testing.assert_close(
            matcher.plans_of(products_of(a, b), i, j).plan, matcher.plans(a, b, i, j).plan, atol=2e-6, rtol=0
        )


def test_carry_no_gradient():
    a, b = maps(12, 3), maps(13, 4)
    a.local.requires_grad_(True)
    i, j = every_pair(a, b)
    products = products_of(a, b)
    assert products.requires_grad
    for found in (Matcher().plans(a, b, i, j), Matcher().plans_of(products, i, j)):
        assert not found.plan.requires_grad


def test_nothing_and_beyond():
    some, none = maps(14, 3), torch.zeros(0, dtype=torch.int64)
    assert Matcher().plans(some, some, none, none).plan.shape == (0, 16, 16)
    assert Matcher().plans_of(products_of(some, some), none, none).plan.shape == (0, 16, 16)
    one, beyond = torch.tensor([0]), torch.tensor([3])
    with pytest.raises(IndexError, match="3 images"):
        Matcher().plans(some, some, one, beyond)
    with pytest.raises(IndexError, match="3 images"):
        Matcher().plans_of(products_of(some, some), beyond, one)


def test_torchs_default_dtype_makes_no_difference():
    maps = FeatureMaps(torch.randn(4, 9, 16, generator=torch.Generator().manual_seed(0)), (3, 3))
    i = torch.arange(4)
    expected, matrix = Matcher().plans(maps, maps, i, i.flip(0)), Matcher().similarity(maps, maps)
    torch.set_default_dtype(torch.float64)
    try:
        found = Matcher().plans(maps, maps, i, i.flip(0))
        assert (found.plan.dtype, found.error.dtype) == (torch.float32, torch.float32)
        assert torch.equal(found.plan, expected.plan)
        assert torch.equal(Matcher().similarity(maps, maps), matrix)
    finally:
        torch.set_default_dtype(torch.float32)
