"""The exact plan against solvers that nobody here wrote."""

import itertools

import numpy as np
import ot
import pytest
import torch

from diml.explanation.methods import ExactTransport
from diml.explanation.methods.exact import exact_plan
from diml.matching import transport_plan


def problem(seed, r_a, r_b, uniform=False):
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.rand(r_a, r_b, generator=generator, dtype=torch.float64) * 2 - 1
    mu_a, mu_b = (torch.rand(r, generator=generator, dtype=torch.float64) for r in (r_a, r_b))
    if uniform:
        mu_a, mu_b = torch.ones(r_a).double(), torch.ones(r_b).double()
    return similarity, mu_a / mu_a.sum(), mu_b / mu_b.sum()


@pytest.mark.parametrize(
    ("r_a", "r_b", "uniform"),
    [(5, 5, True), (16, 16, True), (6, 9, True), (6, 9, False), (16, 16, False), (1, 4, False)],
)
def test_its_cost_is_that_of_pot(r_a, r_b, uniform):
    similarity, mu_a, mu_b = problem(r_a + r_b, r_a, r_b, uniform)
    plan = exact_plan(similarity, mu_a, mu_b)
    torch.testing.assert_close(plan.sum(1), mu_a, atol=1e-9, rtol=0)
    torch.testing.assert_close(plan.sum(0), mu_b, atol=1e-9, rtol=0)
    assert plan.min() >= -1e-12
    oracle = ot.emd2(mu_a.numpy(), mu_b.numpy(), (1 - similarity).numpy())
    assert abs((plan * (1 - similarity)).sum().item() - oracle) < 1e-9


def test_an_assignment_is_the_best_of_all_permutations():
    similarity, mu_a, mu_b = problem(3, 5, 5, uniform=True)
    best = max(sum(similarity[i, j].item() for i, j in enumerate(p)) for p in itertools.permutations(range(5)))
    assert abs((exact_plan(similarity, mu_a, mu_b) * similarity).sum().item() - best / 5) < 1e-12


def test_no_entropic_plan_exceeds_it():
    similarity, mu_a, mu_b = problem(4, 8, 8)
    exact = (exact_plan(similarity, mu_a, mu_b) * similarity).sum()
    for eps in (0.5, 0.05, 0.01):
        entropic = transport_plan(similarity, mu_a, mu_b, eps=eps, tolerance=1e-9, max_iterations=20_000)
        assert (entropic.plan * similarity).sum() <= exact + 1e-8


def test_zero_weights_move_nothing():
    similarity, _, mu_b = problem(5, 4, 4)
    mu_a = torch.tensor([0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    plan = exact_plan(similarity, mu_a, mu_b)
    assert plan[[1, 3]].abs().max() < 1e-12


@pytest.mark.parametrize("marginals", ["uniform", "cross_correlation"])
@pytest.mark.parametrize("mass", [1.0, 0.5])
def test_it_moves_between_the_models_own_marginals(marginals, mass, small_model, noise_image, input_of):
    model = small_model(marginals=marginals, mass=mass)
    pair = input_of(model, noise_image(1), noise_image(2))
    found = ExactTransport().explain(pair)
    whole = model.with_matcher(mass=1.0).explain(pair.maps_a, pair.maps_b)
    torch.testing.assert_close(found.correspondence.sum(1), whole.plan[0].sum(1), atol=1e-5, rtol=0)
    assert found.total >= whole.structural.item() - 1e-5
    assert abs(found.residual) < 1e-12


def test_without_scipy_the_extra_is_named(monkeypatch):
    from diml.errors import UsageError
    from diml.explanation.methods import exact, methods, registry

    for module in (exact, registry):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'diml\[mat\]'"):
        ExactTransport()
    assert "emd" not in [method.name for method in methods()]


def test_numbers_are_plain_float64():
    similarity, mu_a, mu_b = problem(6, 3, 4)
    assert exact_plan(similarity, mu_a, mu_b).dtype == torch.float64
    assert np.isfinite(exact_plan(similarity, mu_a, mu_b).numpy()).all()
