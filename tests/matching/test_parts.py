"""One-sided matching against naive loops, and what it must not care about."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Match, Matcher, concentration, find_part, part_similarity
from diml.matching import parts as parts_module


def random_maps(seed, n=1, grid=(3, 4), dim=8, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    return FeatureMaps(torch.randn(n, grid[0] * grid[1], dim, generator=g, dtype=torch.float64).to(dtype), grid)


def random_weights(seed, n=1, r=12):
    weights = torch.rand(n, r, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return weights * (weights > 0.5)


def naive(a, b, weights, eps):
    """The formula for one pair, term by term."""
    total = 0.0
    for i, weight in enumerate(weights.tolist()):
        s = [float(torch.dot(a[i], b[j]) / (a[i].norm() * b[j].norm())) for j in range(len(b))]
        z = sum(math.exp(value / eps) for value in s)
        total += weight / float(weights.sum()) * sum(math.exp(value / eps) / z * value for value in s)
    return total


@pytest.mark.parametrize("eps", [0.02, 0.05, 1.0])
def test_it_is_the_formula(eps):
    a, b, weights = random_maps(0, 3), random_maps(1, 3, (2, 5)), random_weights(2, 3)
    match = find_part(a, b, weights, eps)
    expected = [naive(a.local[k], b.local[k], weights[k], eps) for k in range(3)]
    assert match.similarity.tolist() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(match.similarity, match.structural, atol=0, rtol=0)
    torch.testing.assert_close(match.plan.sum(dim=2), weights / weights.sum(dim=1, keepdim=True))
    assert (match.residual.abs() < 1e-15).all()
    assert match.converged.all()
    assert (match.transport.error < 1e-12).all()


def test_pooled_compares_the_mean_of_the_chosen_cells():
    a, b, weights = random_maps(3), random_maps(4), random_weights(5)
    mean = (weights[0] / weights.sum()) @ a.local[0]
    expected = F.cosine_similarity(mean, b.local[0].mean(dim=0), dim=0)
    torch.testing.assert_close(find_part(a, b, weights).pooled[0], expected)


def test_the_match_knows_what_was_chosen():
    a, b = random_maps(0, 2), random_maps(1, 2, (2, 5))
    weights = torch.zeros(2, 12)
    weights[0, [2, 7]], weights[1, 4] = 1, 1
    match = find_part(a, b, weights)
    assert (match[0].chosen, match[1].chosen, match[:1].chosen, match.chosen) == ([2, 7], [4], [2, 7], [2, 4, 7])
    pairs = match[0].parts()
    assert len(pairs) == 2 * 10
    assert {pair.a for pair in pairs} == {(0, 2), (1, 3)}
    assert sum(pair.contribution for pair in pairs) == pytest.approx(match[0].similarity.item(), abs=1e-12)
    values = [pair.contribution for pair in pairs]
    assert values == sorted(values, reverse=True)
    assert match[0].parts(3) == pairs[:3]
    whole = Matcher().match(a, b)[0]
    assert whole.chosen is None
    assert len(whole.parts()) == 120


def test_part_weights_that_do_not_fit_are_refused(unchecked_shapes):
    match = Matcher().match(random_maps(0), random_maps(1))
    with pytest.raises(UsageError, match=r"part weights of shape \(1, 12\), got \(1, 5\)"):
        Match(match.maps_a, match.maps_b, match.transport, 0.5, torch.ones(1, 5))


def test_of_all_plans_that_move_the_chosen_mass_it_is_the_best():
    """Least cost and most entropy among plans with these row sums: no random one does better."""
    a, b, weights = random_maps(6), random_maps(7), random_weights(8)
    match, eps = find_part(a, b, weights), 0.05
    mu = weights[0] / weights.sum()

    def objective(plan):
        return float((plan * (1 - match.local_similarity[0])).sum() - eps * torch.special.entr(plan).sum())

    best = objective(match.plan[0])
    for seed in range(200):
        g = torch.Generator().manual_seed(seed)
        other = torch.rand(12, 12, generator=g, dtype=torch.float64) ** 4
        other = mu[:, None] * other / other.sum(dim=1, keepdim=True)
        near = 0.9 * match.plan[0] + 0.1 * other
        assert objective(other) > best
        assert objective(near) > best


def test_small_eps_takes_the_most_similar_part():
    a, b, weights = random_maps(9), random_maps(10), random_weights(11)
    match = find_part(a, b, weights, eps=1e-4)
    expected = (weights[0] / weights.sum()) @ match.local_similarity[0].amax(dim=1)
    assert match.similarity.item() == pytest.approx(expected.item(), abs=1e-4)


def test_neither_place_nor_surroundings_count():
    """The part moved elsewhere, among parts unlike it: the same similarity to rounding, and the plan follows."""
    a = random_maps(12, dim=64)
    weights = torch.zeros(1, 12)
    weights[0, [2, 3]] = 1
    surroundings = torch.zeros(1, 12, 64, dtype=torch.float64)
    scores = []
    for place in (0, 5, 10):
        shown = surroundings.clone()
        shown[0, place : place + 2] = 3 * a.local[0, 2:4]
        match = find_part(a, FeatureMaps(shown, (3, 4)), weights)
        assert match.plan[0, [2, 3]].argmax(dim=1).tolist() == [place, place + 1]
        scores.append(match.similarity.item())
    assert scores == pytest.approx([scores[0]] * 3, abs=1e-12)
    assert scores[0] > 0.99
    permutation = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    b = random_maps(13, dim=64)
    moved = FeatureMaps(b.local[:, permutation], b.grid)
    torch.testing.assert_close(find_part(a, moved, weights).similarity, find_part(a, b, weights).similarity)
    torch.testing.assert_close(find_part(a, moved, weights).plan, find_part(a, b, weights).plan[:, :, permutation])


def test_scores_of_many_are_those_of_the_matches(monkeypatch):
    monkeypatch.setattr(parts_module, "CHUNK", 3)
    a, b, weights = random_maps(14), random_maps(15, 8), random_weights(16)
    match = find_part(a[[0] * 8], b, weights.expand(8, -1))
    torch.testing.assert_close(part_similarity(a, b, weights), match.similarity)
    half = part_similarity(a.to(torch.float16), b.to(torch.float16), weights)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), match.similarity, atol=3e-3, rtol=0)
    assert part_similarity(a, b[:0], weights).shape == (0,)


def test_a_pair_does_not_depend_on_its_batch():
    a, b, weights = random_maps(17, 4), random_maps(18, 4), random_weights(19, 4)
    whole = find_part(a, b, weights)
    for k in range(4):
        assert torch.equal(find_part(a[k], b[k], weights[k : k + 1]).similarity, whole.similarity[k : k + 1])


def test_edges_stay_finite():
    zero = FeatureMaps(torch.zeros(1, 12, 8), (3, 4))
    assert find_part(zero, zero, torch.ones(1, 12)).similarity.tolist() == [0.0]
    one = random_maps(20, grid=(1, 1))
    assert find_part(one, one, torch.ones(1, 1)).similarity.item() == pytest.approx(1)
    tiny = find_part(
        random_maps(21, dtype=torch.float16), random_maps(22, dtype=torch.float16), torch.ones(1, 12), 1e-6
    )
    assert tiny.similarity.isfinite().all()


def test_gradients_reach_the_maps_and_not_the_plan():
    local = random_maps(23).local.requires_grad_()
    match = find_part(FeatureMaps(local, (3, 4)), random_maps(24), random_weights(25))
    assert not match.plan.requires_grad
    match.similarity.sum().backward()
    assert local.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("weights", "eps", "said"),
    [
        (torch.zeros(1, 12), 0.05, "all 0"),
        (-torch.ones(1, 12), 0.05, ">= 0"),
        (torch.ones(1, 7), 0.05, "shape"),
        (torch.ones(1, 12), 0.0, "eps"),
    ],
)
def test_what_is_refused(unchecked_shapes, weights, eps, said):
    with pytest.raises(UsageError, match=said):
        find_part(random_maps(0), random_maps(1), weights, eps)
    with pytest.raises(UsageError, match=said):
        part_similarity(random_maps(0), random_maps(1), weights, eps)


def test_maps_that_do_not_fit_are_refused():
    for other in (random_maps(1, dim=9), random_maps(1, n=2)):
        with pytest.raises(UsageError, match="the same"):
            find_part(random_maps(0), other, torch.ones(1, 12))


class TestConcentration:
    def test_one_partner_is_1_and_all_alike_is_0(self):
        plans = torch.stack([torch.eye(5).flip(0) / 5, torch.full((5, 5), 0.04), torch.ones(5, 1) * torch.eye(5)[2]])
        assert concentration(plans).tolist() == pytest.approx([1, 0, 1], abs=1e-6)

    def test_two_of_four_partners_is_a_half(self):
        plan = torch.tensor([[[0.25, 0.25, 0, 0], [0, 0, 0.25, 0.25]]])
        assert concentration(plan).item() == pytest.approx(0.5)

    def test_one_cell_and_unnormalised_plans(self):
        assert concentration(torch.ones(2, 3, 1)).tolist() == [1, 1]
        plan = torch.rand(1, 3, 4)
        torch.testing.assert_close(concentration(plan), concentration(7 * plan))

    @pytest.mark.slow
    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 1000), eps=st.sampled_from([1e-3, 0.05, 10.0]))
    def test_it_is_the_mean_over_parts_of_what_their_own_entropy_leaves(self, seed, eps):
        a, b = random_maps(seed), random_maps(seed + 1, grid=(2, 3))
        plan = Matcher("cross_correlation", eps=eps).match(a, b).plan
        left = 0.0
        for row in plan[0]:
            mass = float(row.sum())
            left += sum(-float(t) * math.log(float(t) / mass) for t in row if t > 0) if mass > 0 else 0.0
        assert concentration(plan).item() == pytest.approx(1 - left / math.log(6), abs=1e-9)
        assert 0 <= concentration(plan).item() <= 1

    def test_a_sharper_plan_is_more_concentrated(self):
        a, b = random_maps(1), random_maps(2)
        values = [concentration(Matcher(eps=eps).tight().match(a, b).plan).item() for eps in (0.02, 0.1, 1.0)]
        assert values == sorted(values, reverse=True)
