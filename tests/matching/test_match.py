"""What follows from a plan: the decomposition, its symmetries and its edges."""

import pytest
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Match, Matcher, TransportPlan


def maps(seed, n=3, grid=(4, 4), dim=32, dtype=torch.float32, own=False):
    g = torch.Generator().manual_seed(seed)
    local = torch.randn(n, grid[0] * grid[1], dim, generator=g, dtype=torch.float64) + 0.3
    pooled = torch.randn(n, dim, generator=g, dtype=torch.float64).to(dtype) if own else None
    size = torch.tensor([[100, 60]]).expand(n, 2)
    visible = torch.tensor([[0.0, 0.0, 100.0, 60.0]], dtype=torch.float64).expand(n, 4)
    return FeatureMaps(local.to(dtype), grid, pooled, Geometry(size, visible))


SCHEMES = ["uniform", "cross_correlation"]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("dtype", "within"), [(torch.float16, 1e-5), (torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_contributions_sum_to_the_similarity(scheme, weight, dtype, within):
    match = Matcher(scheme, weight=weight).match(maps(0, 50, dtype=dtype), maps(1, 50, (7, 5), dtype=dtype))
    assert (match.contributions.sum((1, 2)) - match.similarity).abs().max() < within
    assert match.residual.abs().max() < within


def test_the_formula_by_naive_loops():
    a, b = maps(2, 1, (2, 3), 5, torch.float64), maps(3, 1, (3, 1), 5, torch.float64)
    match = Matcher("cross_correlation", weight=0.3).tight().match(a, b)
    x, y = a.local[0], b.local[0]
    px, py = x.mean(0), y.mean(0)
    total = 0.0
    for i in range(6):
        for j in range(3):
            s = float(x[i] @ y[j] / (x[i].norm() * y[j].norm()))
            share = float(x[i] @ y[j] / (6 * 3 * px.norm() * py.norm()))
            value = 0.3 * float(match.plan[0, i, j]) * s + 0.7 * share
            assert match.contributions[0, i, j].item() == pytest.approx(value, abs=1e-14)
            total += value
    assert match.similarity.item() == pytest.approx(total, abs=1e-12)
    halves = match.structural_contributions, match.pooled_contributions
    assert halves[0].sum().item() == pytest.approx(0.3 * match.structural.item(), abs=1e-14)
    assert halves[1].sum().item() == pytest.approx(0.7 * match.pooled.item(), abs=1e-14)
    assert torch.equal(sum(halves), match.contributions)
    correlation = (x @ py / (x.norm(dim=1) * py.norm())).clamp(min=0)
    torch.testing.assert_close(match.plan[0].sum(1), correlation / correlation.sum(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_swapping_the_images_transposes(scheme):
    a, b = maps(4, 20, dtype=torch.float64), maps(5, 20, (3, 3), dtype=torch.float64)
    matcher = Matcher(scheme, tolerance=1e-10, max_iterations=100_000)
    one, other = matcher.match(a, b), matcher.match(b, a)
    torch.testing.assert_close(one.contributions, other.contributions.mT, atol=1e-9, rtol=0)
    torch.testing.assert_close(one.similarity, other.similarity, atol=1e-9, rtol=0)


def test_a_pooled_vector_of_the_models_own_leaves_an_honest_residual():
    a, b = maps(6, own=True, dtype=torch.float64), maps(7, own=True, dtype=torch.float64)
    match = Matcher().match(a, b)
    own = torch.nn.functional.cosine_similarity(a.pooled, b.pooled)
    mean = torch.nn.functional.cosine_similarity(a.mean, b.mean)
    torch.testing.assert_close(match.pooled, own)
    torch.testing.assert_close(match.residual, 0.5 * (own - mean), atol=1e-12, rtol=0)
    assert match.residual.abs().max() > 1e-3


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_zero_maps_and_equal_images_stay_finite(scheme, dtype):
    some, nothing = maps(8, 2, dtype=dtype), FeatureMaps(torch.zeros(2, 16, 32, dtype=dtype), (4, 4))
    for other in (some, nothing):
        match = Matcher(scheme).match(nothing, other)
        assert torch.isfinite(match.contributions).all()
        torch.testing.assert_close(match.contributions.sum((1, 2)), match.similarity, atol=1e-6, rtol=0)
    itself = Matcher(scheme).match(some, some)
    # Entropy blurs the plan, so an image is a little less than 1 with itself.
    assert (itself.similarity < 1).all()
    assert (itself.similarity > 0.6).all()


def test_one_cell_is_the_cosine():
    a, b = maps(9, 4, (1, 1), dtype=torch.float64), maps(10, 4, (1, 1), dtype=torch.float64)
    match = Matcher().match(a, b)
    torch.testing.assert_close(match.structural, match.pooled)
    torch.testing.assert_close(match.plan, torch.ones(4, 1, 1, dtype=torch.float64))


def test_opposite_parts_contribute_negatively_and_are_listed_last():
    a = maps(11, 1, (2, 2), dtype=torch.float64)
    parts = Matcher().match(a, FeatureMaps(-a.local, (2, 2))).parts()
    assert len(parts) == 16
    values = [part.contribution for part in parts]
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0
    assert parts[0].b_box is None


def test_parts_agree_with_the_tensors():
    match = Matcher("cross_correlation").match(maps(12), maps(13))[1]
    parts = match.parts()
    assert sum(part.mass for part in parts) == pytest.approx(1, abs=2e-3)
    assert sum(part.contribution for part in parts) == pytest.approx(match.similarity.item(), abs=1e-5)
    assert sum(part.share for part in parts) == pytest.approx(1, abs=1e-4)
    first = match.parts(1)[0]
    i, j = first.a[0] * 4 + first.a[1], first.b[0] * 4 + first.b[1]
    assert first.contribution == match.contributions[0, i, j].item()
    assert first.similarity == match.local_similarity[0, i, j].item()
    assert first.a_box == (first.a[1] * 25.0, first.a[0] * 15.0, first.a[1] * 25.0 + 25, first.a[0] * 15.0 + 15)


def test_a_match_of_several_is_taken_apart():
    match = Matcher().match(maps(14, 5), maps(15, 5))
    assert len(match) == 5
    torch.testing.assert_close(match[-1].similarity, match.similarity[-1:])
    assert len(match[1:4]) == 3
    torch.testing.assert_close(match[1:4].similarity, match.similarity[1:4])
    with pytest.raises(UsageError, match="use match"):
        match.parts(3)
    with pytest.raises(UsageError, match="n >= 1"):
        match[0].parts(0)


def test_gradients_with_the_plan_as_input():
    plan = torch.rand(2, 4, 6, dtype=torch.float64)
    plan = TransportPlan(
        plan / plan.sum((1, 2), keepdim=True), torch.ones(2).long(), torch.zeros(2), torch.ones(2).bool()
    )

    def similarity(a, b):
        return Match(FeatureMaps(a, (2, 2)), FeatureMaps(b, (2, 3)), plan).similarity

    a = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    b = torch.randn(2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(similarity, (a, b))


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="one by one"):
        Matcher().match(maps(0, 2), maps(0, 3))
    with pytest.raises(UsageError, match="expected maps of one dim"):
        Matcher().match(maps(0, 2), maps(0, 2, dim=8))
