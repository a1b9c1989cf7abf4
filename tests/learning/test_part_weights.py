"""Weights of parts in training: every structural loss takes them, and they learn."""

from __future__ import annotations

import pytest
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning import LOSSES, PairMeasure, StructuralSimilarity, build_objective, flattened
from diml.matching import Matcher

LABELS = torch.tensor([0, 0, 1, 1, 2, 2])


def weighted_maps(seed: int = 0) -> FeatureMaps:
    random = torch.Generator().manual_seed(seed)
    raw = torch.rand(6, 4, generator=random).double().requires_grad_()
    return FeatureMaps(torch.randn(6, 4, 8, generator=random).double().requires_grad_(), (2, 2), weights=raw)


@pytest.mark.parametrize("marginals", ["uniform", "cross_correlation"])
def test_values_are_those_of_the_matcher(marginals: str) -> None:
    maps = weighted_maps()
    matcher = Matcher(marginals, tolerance=1e-6)
    expected = matcher.similarity(maps.detach(), maps.detach())
    measure = PairMeasure(matcher)
    torch.testing.assert_close(measure.matrix(maps).detach(), expected, atol=1e-5, rtol=0)
    i, j = torch.triu_indices(6, 6)
    torch.testing.assert_close(measure.pairs(maps, maps, i, j).detach(), expected[i, j], atol=1e-5, rtol=0)
    other = weighted_maps(1)
    torch.testing.assert_close(
        measure.matrix(maps, other).detach(), matcher.similarity(maps.detach(), other.detach()), atol=1e-5, rtol=0
    )
    distance = StructuralSimilarity((2, 2), marginals, tolerance=1e-6, dim=8, weighted=True)
    torch.testing.assert_close(distance(flattened(maps)).detach(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name, spec in LOSSES.items() if spec.structural])
def test_every_structural_loss_teaches_the_weights(name: str) -> None:
    torch.manual_seed(0)
    objective = build_objective(name, similarity="structural", classes=3, dim=8, grid=(2, 2), weighted=True).double()
    raw = torch.rand(6, 4).double().requires_grad_()
    local = torch.randn(6, 4, 8).double().requires_grad_()
    objective(FeatureMaps(local, (2, 2), weights=raw), LABELS).backward()
    assert local.grad is not None
    assert torch.isfinite(local.grad).all()
    assert raw.grad is not None
    assert torch.isfinite(raw.grad).all()
    if local.grad.any():  # a miner may find no triplet
        assert raw.grad.any()


def test_the_gradient_of_the_weights_is_exact_for_the_pooled_half() -> None:
    raw = torch.rand(2, 4).double().requires_grad_()
    local = torch.randn(2, 4, 3).double()

    def pooled(weights: torch.Tensor) -> torch.Tensor:
        maps = FeatureMaps(local, (2, 2), weights=weights)
        return PairMeasure(Matcher(weight=0.0)).pairs(maps, maps, torch.tensor([0]), torch.tensor([1]))

    assert torch.autograd.gradcheck(pooled, raw)


def test_a_loss_refuses_transports_that_leave_parts() -> None:
    with pytest.raises(UsageError, match="expected the transport 'full' or 'dustbin' in a loss"):
        PairMeasure(Matcher(transport="one-sided"))


class TestDustbin:
    def test_values_are_those_of_the_matcher(self) -> None:
        maps, other = weighted_maps().detach(), weighted_maps(1).detach()
        matcher = Matcher(transport="dustbin", bin_similarity=0.1, weight=0.7, tolerance=1e-7, max_iterations=20_000)
        measure = PairMeasure(matcher)
        expected = matcher.similarity(maps, other)
        torch.testing.assert_close(measure.matrix(maps, other), expected, atol=1e-6, rtol=0)
        i, j = torch.tensor([0, 5, 2]), torch.tensor([3, 3, 1])
        torch.testing.assert_close(measure.pairs(maps, other, i, j), expected[i, j], atol=1e-6, rtol=0)
        own = matcher.similarity(maps, maps)
        torch.testing.assert_close(measure.matrix(maps), own, atol=1e-5, rtol=0)

    def test_the_price_is_learned(self) -> None:
        """Its gradient is `w (1 - sum T)`, as the plan is held fixed, through the tanh."""
        distance = StructuralSimilarity((2, 2), "uniform", transport="dustbin", bin_similarity="learned").double()
        assert abs(distance.bin_similarity - 0.3) < 1e-6
        maps = FeatureMaps(weighted_maps().local.detach(), (2, 2))
        distance(flattened(maps)).sum().backward()
        i, j = torch.arange(6).repeat_interleave(6), torch.arange(6).repeat(6)
        plan = Matcher(transport="dustbin", bin_similarity=distance.bin_similarity).plans(maps, maps, i, j).plan
        expected = 0.5 * (1 - plan.sum(dim=(1, 2))).sum() * (1 - 0.3**2)
        assert distance.bin.grad.item() == pytest.approx(expected.item(), rel=1e-3)
        torch.optim.SGD(distance.parameters(), lr=0.01).step()
        assert distance.bin_similarity < 0.3
        distance(flattened(maps))

    def test_what_is_refused(self) -> None:
        with pytest.raises(UsageError, match="expected bin_similarity to be a number or 'learned', got 'x'"):
            StructuralSimilarity((2, 2), transport="dustbin", bin_similarity="x")
        with pytest.raises(UsageError, match="expected the transport 'dustbin' for a learned"):
            StructuralSimilarity((2, 2), bin_similarity="learned")
