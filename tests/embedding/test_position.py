"""Directions of position: found in tokens that are content and a code of their place, and left out by a head."""

import pytest
import torch

from diml.embedding import Encoder, Preprocessing, fit_whitening, noise_tokens, position_directions
from diml.errors import UsageError

CHANNELS, POSITIONS, CODE = 24, 36, 3


def draw(images, seed=0):
    """Tokens, their content and the directions of the code: content varies in all channels, the code in three."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(CHANNELS, CHANNELS, generator=torch.Generator().manual_seed(9)).double()).Q.mT
    content = torch.randn(images, POSITIONS, CHANNELS, generator=g, dtype=torch.float64)
    places = torch.randn(POSITIONS, CODE, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    code = 3 * places @ basis[:CODE]
    return content + code, content, basis[:CODE]


def test_the_directions_are_those_of_the_code():
    tokens, _, basis = draw(2000)
    found = position_directions(tokens, CODE)
    torch.testing.assert_close(found @ found.mT, torch.eye(CODE).double(), atol=1e-10, rtol=0)
    # The same subspace: all singular values of the product are 1.
    assert torch.linalg.svdvals(found @ basis.mT).min() > 0.999


def test_a_head_without_them_does_not_see_the_position_and_keeps_the_rest():
    tokens, content, _ = draw(2000)
    without = position_directions(tokens, CODE)
    pooled = content[:, :4].mean(dim=1)
    plain = fit_whitening(pooled, CHANNELS)
    head = fit_whitening(pooled, CHANNELS, without=without)
    assert head.out_features == CHANNELS - CODE
    new, own, _ = draw(500, seed=1)
    # The share of the variance that is between positions: large with the code, and without it that of 500 samples.
    outputs = [each.double()(new) for each in (plain, head)]
    with_code, without_code = (out.mean(dim=0).var(dim=0).sum() / out.var(dim=(0, 1)).sum() for out in outputs)
    assert with_code > 0.3
    assert without_code < 0.01
    # On content outside of the code's directions the head is the head of that content: nothing else is lost.
    rest = own - (own @ without.double().mT) @ without.double()
    torch.testing.assert_close(head(rest), head(own), atol=1e-5, rtol=0)
    alone = fit_whitening(pooled - (pooled @ without.mT) @ without, CHANNELS).double()
    torch.testing.assert_close(head(new), alone(new - (new @ without.mT) @ without), atol=1e-4, rtol=0)


def test_it_is_one_map_for_all_places_that_commutes_with_the_mean():
    tokens, _, _ = draw(100)
    head = fit_whitening(tokens.mean(dim=1), 8, without=position_directions(tokens, 2)).double()
    torch.testing.assert_close(head(tokens).mean(dim=1), head(tokens.mean(dim=1)))


def test_few_directions_are_returned_where_there_are_no_more():
    code = torch.zeros(POSITIONS, CHANNELS)
    code[:, 5] = torch.arange(float(POSITIONS))
    assert position_directions(code[None], 8).shape == (1, CHANNELS)


@pytest.mark.parametrize(
    ("tokens", "count", "said"),
    [
        (torch.rand(3, 9, 4), 0, "expected 1 to 3 directions of position, for 9 positions and 4 channels, got 0"),
        (torch.rand(3, 9, 4), 4, "got 4"),
        (torch.rand(3, 3, 8), 3, "expected 1 to 2 directions"),
        (torch.ones(3, 9, 4), 1, "the same mean token at all positions"),
    ],
)
def test_what_cannot_be_is_refused(tokens, count, said):
    with pytest.raises(UsageError, match=said):
        position_directions(tokens, count)


def test_noise_is_the_same_every_time_and_leaves_the_encoder_as_it_was():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 16, 16), torch.nn.Dropout())
    encoder = Encoder(network, Preprocessing(size=(64, 96)))
    encoder.train()
    first = noise_tokens(encoder, images=4)
    assert first.shape == (4, 24, 8)
    assert encoder.training
    assert torch.equal(first, noise_tokens(encoder, images=4))
    assert not torch.equal(first, noise_tokens(encoder, images=4, seed=1))
    assert not first.requires_grad


def test_a_code_of_positions_in_a_network_is_found_in_noise():
    class Coded(torch.nn.Module):
        """The mean of each cell, and a ramp from left to right."""

        def __init__(self):
            super().__init__()
            self.cells = torch.nn.Conv2d(3, 8, 16, 16)

        def forward(self, pixels):
            maps = self.cells(pixels)
            ramp = torch.zeros_like(maps)
            ramp[:, 7] = 10 * torch.arange(maps.shape[3]).float()
            return maps + ramp

    found = position_directions(noise_tokens(Encoder(Coded(), Preprocessing(size=(64, 64)))), 1)
    assert found[0, 7].abs() > 0.999
