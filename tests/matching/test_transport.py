"""Transport plans against POT, against laws, and at the limits of their range."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.errors import UsageError
from diml.matching import transport, transport_plan


def random_problem(seed, n=1, r_a=16, r_b=16, dtype=torch.float64):
    """Cosines of random maps that share a direction, and random marginals."""
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(n, r_a, 8, generator=g, dtype=dtype), torch.randn(n, r_b, 8, generator=g, dtype=dtype)
    s = torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).mT
    mu_a, mu_b = (
        torch.rand(n, r_a, generator=g, dtype=dtype) + 0.01,
        torch.rand(n, r_b, generator=g, dtype=dtype) + 0.01,
    )
    return s, mu_a / mu_a.sum(1, keepdim=True), mu_b / mu_b.sum(1, keepdim=True)


@pytest.mark.parametrize("eps", [0.02, 0.05, 0.5, 10.0])
@pytest.mark.parametrize(("r_a", "r_b"), [(16, 16), pytest.param(49, 16, marks=pytest.mark.slow), (1, 5), (1, 1)])
def test_agrees_with_pot_entropic(eps, r_a, r_b):
    s, mu_a, mu_b = random_problem(1, r_a=r_a, r_b=r_b)
    ours = transport_plan(s[0], mu_a[0], mu_b[0], eps=eps, tolerance=1e-12, max_iterations=100_000)
    theirs = ot.sinkhorn(
        mu_a[0].numpy(),
        mu_b[0].numpy(),
        1 - s[0].numpy(),
        eps,
        method="sinkhorn_log",
        stopThr=1e-13,
        numItermax=100_000,
    )
    assert bool(ours.converged)
    np.testing.assert_allclose(ours.plan.numpy(), theirs, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_small_eps_meets_the_exact_cost(seed):
    s, mu_a, mu_b = random_problem(seed, r_a=9, r_b=12)
    ours = transport_plan(s, mu_a, mu_b, eps=1e-3, tolerance=1e-6, max_iterations=200_000)
    exact = ot.emd2(mu_a[0].numpy(), mu_b[0].numpy(), 1 - s[0].numpy())
    assert bool(ours.converged)
    cost = (ours.plan * (1 - s)).sum().item()
    # The entropic plan costs at most eps * log(r_a r_b) more than the exact one.
    assert exact - 1e-6 <= cost <= exact + 1e-3 * np.log(9 * 12)


def test_small_eps_finds_the_assignment():
    g = torch.Generator().manual_seed(0)
    permutation = torch.randperm(16, generator=g)
    s = torch.full((16, 16), 0.2)
    s[torch.arange(16), permutation] = 0.9
    uniform = torch.full((16,), 1 / 16)
    plan = transport_plan(s, uniform, uniform, eps=1e-3).plan
    assert torch.equal(plan.argmax(dim=1), permutation)
    torch.testing.assert_close(plan.max(dim=1).values, uniform)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    eps=st.sampled_from([1e-3, 5e-3, 0.01, 0.02, 0.05, 0.3, 10.0]),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_marginals_are_met_wherever_it_says_so(seed, eps, shape, dtype):
    s, mu_a, mu_b = random_problem(seed, 3, *shape, dtype=dtype)
    result = transport_plan(s, mu_a, mu_b, eps=eps, tolerance=1e-3, max_iterations=300)
    assert torch.isfinite(result.plan).all()
    assert (result.plan >= 0).all()
    error = (result.plan.sum(2) - mu_a).abs().sum(1) + (result.plan.sum(1) - mu_b).abs().sum(1)
    torch.testing.assert_close(error, result.error, atol=1e-4, rtol=0)
    assert (error[result.converged] <= 1e-3 + 1e-4).all()
    assert (result.iterations[~result.converged] == 300).all()


@pytest.mark.parametrize("eps", [0.02, 0.025, 0.03, 0.05])
def test_float32_is_right_at_the_edge_of_its_range(eps):
    """Opposite parts (S = -1) and equal ones: the widest possible range of costs."""
    s = torch.ones(1, 8, 8)
    s[0, :4, 4:] = s[0, 4:, :4] = -1
    mu_a = torch.tensor([[0.2, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1]])
    mu_b = mu_a.flip(1)
    single = transport_plan(s, mu_a, mu_b, eps=eps, tolerance=1e-5)
    double = transport_plan(s.double(), mu_a.double(), mu_b.double(), eps=eps, tolerance=1e-9)
    assert single.converged.all()
    torch.testing.assert_close(single.plan.double(), double.plan, atol=1e-5, rtol=0)


def test_swapping_the_sides_transposes():
    s, mu_a, mu_b = random_problem(3, 5, 16, 9)
    forward = transport_plan(s, mu_a, mu_b, tolerance=1e-11, max_iterations=100_000)
    backward = transport_plan(s.mT, mu_b, mu_a, tolerance=1e-11, max_iterations=100_000)
    torch.testing.assert_close(forward.plan, backward.plan.mT, atol=1e-9, rtol=0)


def test_permuting_parts_permutes_the_plan():
    s, mu_a, mu_b = random_problem(4, 2)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    plain = transport_plan(s, mu_a, mu_b, tolerance=1e-10)
    shuffled = transport_plan(s[:, order], mu_a[:, order], mu_b, tolerance=1e-10)
    torch.testing.assert_close(plain.plan[:, order], shuffled.plan, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("r", "chunk"),
    [
        (4, transport.CHUNK),
        pytest.param(16, transport.CHUNK, marks=pytest.mark.slow),
        pytest.param(49, 80, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("eps", [0.01, 0.05])
def test_a_pair_does_not_depend_on_its_batch(r, chunk, eps, monkeypatch):
    """Bit for bit: easy and hard pairs together, alone, and at another position of a chunk."""
    monkeypatch.setattr(transport, "CHUNK", chunk)
    s, mu_a, mu_b = random_problem(5, chunk + 40, r, r, dtype=torch.float32)
    together = transport_plan(s, mu_a, mu_b, eps=eps)
    for at in (0, 7, chunk - 1, chunk + 3):
        alone = transport_plan(s[at], mu_a[at], mu_b[at], eps=eps)
        assert torch.equal(alone.plan, together.plan[at])
        assert alone.iterations == together.iterations[at]
    part = transport_plan(s[3:90], mu_a[3:90], mu_b[3:90], eps=eps)
    assert torch.equal(part.plan, together.plan[3:90])


@pytest.mark.parametrize("eps", [1e-3, 0.05])
def test_zero_entries_in_a_marginal_get_no_mass(eps):
    s, mu_a, mu_b = random_problem(6, 4)
    mu_a[:, :5] = 0
    mu_b[:, 3] = 0
    mu_a, mu_b = mu_a / mu_a.sum(1, keepdim=True), mu_b / mu_b.sum(1, keepdim=True)
    result = transport_plan(s, mu_a, mu_b, eps=eps, max_iterations=50_000)
    assert torch.isfinite(result.plan).all()
    assert result.converged.all()
    assert result.plan[:, :5].abs().max() == 0
    assert result.plan[:, :, 3].abs().max() == 0


def test_all_mass_on_one_part():
    s, mu_a, mu_b = random_problem(7)
    mu_a = torch.zeros_like(mu_a)
    mu_a[0, 2] = 1
    result = transport_plan(s, mu_a, mu_b)
    torch.testing.assert_close(result.plan[0, 2], mu_b[0], atol=1e-3, rtol=0)


def test_not_converged_is_said():
    s, mu_a, mu_b = random_problem(8)
    result = transport_plan(s, mu_a, mu_b, eps=1e-3, tolerance=1e-9, max_iterations=3)
    assert not result.converged.any()
    assert (result.iterations == 3).all()
    assert (result.error > 1e-9).all()


def test_no_pairs_and_half_precision():
    empty = transport_plan(torch.zeros(0, 4, 4), torch.zeros(0, 4), torch.zeros(0, 4))
    assert empty.plan.shape == (0, 4, 4)
    s, mu_a, mu_b = random_problem(9, 2, dtype=torch.float32)
    half = transport_plan(s.half(), mu_a, mu_b)
    assert half.plan.dtype == torch.float32
    torch.testing.assert_close(half.plan, transport_plan(s, mu_a, mu_b).plan, atol=2e-3, rtol=0)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"eps": 0.0}, "eps from 1e-09"),
        ({"eps": 1e-300}, "eps from 1e-09"),
        ({"newton_after": 0}, "newton_after >= 1 or None, got 0"),
        ({"max_iterations": 0}, "max_iterations from 1"),
        ({"max_iterations": 2**70}, "max_iterations from 1"),
        ({"mu_a": torch.full((4,), 0.5)}, "to sum to 1"),
        ({"mu_a": torch.tensor([1.5, -0.5, 0, 0])}, "to sum to 1"),
        ({"mu_a": torch.full((4,), float("nan"))}, "to sum to 1"),
        ({"mu_b": torch.full((3,), 1 / 3)}, "expected"),
        ({"local_similarity": torch.full((4, 4), float("nan"))}, "NaN"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(change, said):
    arguments = {"local_similarity": torch.eye(4), "mu_a": torch.full((4,), 0.25), "mu_b": torch.full((4,), 0.25)}
    with pytest.raises(UsageError, match=said) as error:
        transport_plan(**{**arguments, **change})
    assert "\n" not in str(error.value)
