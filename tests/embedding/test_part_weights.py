"""Laws of the weights of parts, and rarity against a naive loop in float64."""

import math

import pytest
import torch
from torch import nn

from diml.embedding import Encoder, Learned, Norm, Preprocessing, Product, Rarity, parse_weights
from diml.embedding.part_weights import (
    MOST,
    TEMPERATURE,
    depends_on_collection,
    fitted,
    for_new_head,
    name_of,
    needs_fitting,
)
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps

NAMES = ("norm", "norm2", "rarity", "norm*rarity", "norm2*rarity", "learned")


def parts(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def made(name, dim=6):
    """The scheme, fitted if it has to be."""
    weights = parse_weights(name, lambda: dim)
    return fitted(weights, parts(50, dim, seed=9)) if needs_fitting(weights) else weights


def normalised(weights, local):
    return FeatureMaps(local, (1, local.shape[1]), weights=weights(local).detach()).weights


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_normalised_and_follow_the_parts_when_they_are_permuted(name):
    weights, local = made(name), parts(3, 7, 6)
    alpha = normalised(weights, local)
    assert (alpha >= 0).all()
    torch.testing.assert_close(alpha.sum(dim=1), torch.ones(3))
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(normalised(weights, local[:, order]), alpha[:, order])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "learned"])
@pytest.mark.parametrize("scale", [1e-30, 2.0**-12, 3.0, 1e18, 1e30])
def test_scaling_all_features_changes_no_weight(name, scale):
    weights, local = made(name), parts(2, 7, 6)
    torch.testing.assert_close(normalised(weights, local * scale), normalised(weights, local), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 65504.0, 6e-8])
def test_extreme_float16_features_give_finite_weights(name, value):
    local = torch.full((2, 4, 6), value, dtype=torch.float16)
    raw = made(name)(local)
    assert raw.dtype == torch.float32
    assert torch.isfinite(raw).all()
    torch.testing.assert_close(normalised(made(name), local), torch.full((2, 4), 0.25))


def test_the_norms_are_powers_of_lengths():
    local = parts(2, 5, 6).double()
    lengths = local.norm(dim=-1)
    for power in (1, 2):
        expected = lengths**power / (lengths**power).sum(dim=1, keepdim=True)
        torch.testing.assert_close(normalised(Norm(power), local), expected)
    with pytest.raises(UsageError, match="power of 1 or 2"):
        Norm(3)


def test_rarity_is_that_of_a_naive_loop():
    collection, local = parts(40, 6, seed=3), parts(2, 5, 6)
    rarity = Rarity()
    rarity.fit(collection)
    found = rarity(local)
    for n in range(2):
        for i in range(5):
            x = local[n, i].double()
            rho = 0.0
            for y in collection.double():
                rho += math.exp(((x @ y / (x.norm() * y.norm())).item() - 1) / TEMPERATURE) / len(collection)
            assert found[n, i].item() == pytest.approx(rho**-0.5, rel=1e-4)


def test_rarity_keeps_a_reproducible_sample_of_unit_parts():
    collection = torch.cat([parts(3 * MOST, 6), torch.zeros(5, 6)])
    one, two, other = Rarity(), Rarity(), Rarity()
    one.fit(collection)
    two.fit(collection)
    other.fit(collection, seed=1)
    assert one.sample.shape == (MOST, 6)
    assert torch.equal(one.sample, two.sample)
    assert not torch.equal(one.sample, other.sample)
    torch.testing.assert_close(one.sample.norm(dim=1), torch.ones(MOST))


def test_a_part_without_direction_has_no_rarity():
    local = parts(1, 3, 6)
    local[0, 1] = 0
    alpha = normalised(made("rarity"), local)
    assert alpha[0, 1] == 0
    assert alpha.sum().item() == pytest.approx(1)


def test_rarity_says_that_it_is_not_fitted_or_cannot_be():
    rarity = Rarity()
    assert needs_fitting(Product([Norm(), rarity]))
    assert torch.equal(rarity(parts(1, 2, 6)), torch.ones(1, 2))
    for given in (torch.empty(0, 6), torch.zeros(4, 6)):
        with pytest.raises(UsageError, match="at least one part"):
            rarity.fit(given)
    with pytest.raises(UsageError, match="finite"):
        rarity.fit(torch.full((2, 6), torch.nan))
    with pytest.raises(UsageError, match="depend on no collection"):
        fitted(Norm(), parts(4, 6))
    with pytest.raises(UsageError, match=r"dim 6.*got dim 5"):
        made("rarity")(parts(1, 2, 5))


def test_learned_weights_begin_equal_and_learn():
    local = parts(4, 3, 6)
    learned = Learned(6)
    assert learned(local).unique().numel() == 1
    target = local[:, 0]
    optimiser = torch.optim.SGD(learned.parameters(), lr=0.5)
    losses = []
    for _ in range(20):
        loss = (FeatureMaps(local, (1, 3), weights=learned(local)).pooled - target).square().mean()
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert learned.trained
    assert losses[-1] < losses[0]


def test_a_new_head_takes_back_what_was_fitted_and_refuses_what_was_trained():
    weights = made("norm*rarity")
    renewed = for_new_head(weights, 3)
    assert depends_on_collection(weights)
    assert not needs_fitting(weights)
    assert needs_fitting(renewed)
    assert for_new_head(None, 3) is None
    learned = Learned(6)
    assert for_new_head(learned, 3).linear.in_features == 3
    nn.init.ones_(learned.linear.weight)
    with pytest.raises(UsageError, match="trained"):
        for_new_head(learned, 3)


def test_names():
    for name in NAMES:
        assert name_of(parse_weights(name, lambda: 6)) == name
    assert parse_weights("uniform", lambda: 6) is None
    assert name_of(Rarity(0.2)) is None
    assert name_of(Product([Norm(), nn.Identity()])) is None
    for name in ("norms", "norm*", "", "uniform*norm"):
        with pytest.raises(UsageError, match="uniform, norm, norm2, rarity, learned, or a product"):
            parse_weights(name, lambda: 6)


def test_the_encoder_weighs_parts_after_the_head():
    raw = Encoder(nn.Conv2d(3, 5, 16, 16), Preprocessing(size=(64, 64)), grid=(2, 2))
    encoder = raw.replace(head=nn.Linear(5, 3), weights=Norm(2))
    pixels = torch.rand(2, 3, 64, 64)
    maps = encoder(pixels)
    lengths = maps.local.square().sum(dim=-1)
    torch.testing.assert_close(maps.weights, lengths / lengths.sum(dim=1, keepdim=True))
    torch.testing.assert_close(maps.pooled, (maps.weights[:, :, None] * maps.local).sum(dim=1))
    again = encoder.finished(raw(pixels))
    torch.testing.assert_close(again.weights, maps.weights)
    assert encoder.replace(weights=None).finished(raw(pixels)).weights is None
    maps.pooled.sum().backward()
    assert torch.isfinite(encoder.head.weight.grad).all()


def test_a_pooled_vector_of_the_model_stays_and_broken_features_are_left_to_the_reader():
    class Own(nn.Module):
        def forward(self, pixels):
            return pixels, pixels.mean(dim=(2, 3)) + 1

    encoder = Encoder(Own(), Preprocessing(size=(2, 2)), grid=(2, 2), weights=Norm(1))
    pixels = torch.rand(2, 3, 2, 2)
    torch.testing.assert_close(encoder(pixels).pooled, pixels.mean(dim=(2, 3)) + 1)
    pixels[0, 0, 0, 0] = torch.inf
    assert torch.isfinite(encoder(pixels).weights).all()


def test_a_part_of_the_sample_is_not_compared_with_itself():
    """Its weight is what it would be had it not been drawn, up to the size of the sample."""
    collection = parts(40, 6, seed=3)
    with_it, without_it = Rarity(0.2), Rarity(0.2)
    with_it.fit(collection)
    without_it.fit(collection[1:])
    found, expected = with_it(collection[None, :1]), without_it(collection[None, :1])
    torch.testing.assert_close(found, expected * (40 / 39) ** 0.5, rtol=1e-4, atol=0)
    twice = Rarity(0.2)
    twice.fit(torch.cat([collection, collection[:1]]))  # a second part of the same kind counts
    assert twice(collection[None, :1]).item() < 0.8 * found.item()
