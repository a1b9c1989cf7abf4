"""Occlusion finds the one cell that matters; its windows cover what they should."""

import pytest
import torch

from diml.errors import UsageError
from diml.explanation.methods import Occlusion
from diml.explanation.methods.occlusion import windows
from diml.explanation.methods.pixels import blurred, cell_of_pixels, embed_pixels, hidden, input_pixels, mean_colour


@pytest.mark.parametrize("cell", [(0, 0), (1, 2), (3, 3)])
@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_only_the_cell_that_matters_has_a_drop(cell, weight, small_model, noise_image, one_cell, input_of):
    model = small_model(one_cell(cell), weight=weight)
    a = noise_image(1)
    found = Occlusion().explain(input_of(model, a, a))
    assert found.heat_b is None
    drop = found.heat_a.clone()
    assert drop[cell] > 1e-3
    drop[cell] = 0
    assert drop.abs().max() < 1e-6


def test_the_drop_is_that_of_the_similarity(small_model, noise_image, input_of):
    """One window by hand: the pixels of a cell at their mean, the whole way again."""
    model = small_model()
    a, b = noise_image(1), noise_image(2)
    given = input_of(model, a, b)
    found = Occlusion().explain(given)
    pixels = input_pixels(model, a)
    by_hand = pixels.clone()
    by_hand[:, 8:16, 16:24] = pixels.mean((1, 2), keepdim=True)
    after = model.similarity(embed_pixels(model, by_hand[None]), given.maps_b)[0, 0]
    before = model.similarity(given.maps_a, given.maps_b)[0, 0]
    assert abs(found.heat_a[1, 2].item() - (before - after).item()) < 1e-6


def test_the_other_image_can_be_covered(small_model, noise_image, input_of):
    """A one-sided match is not symmetric: the sides stay where they are."""
    model = small_model(transport="one-sided", weight=1.0)
    given = input_of(model, noise_image(1), noise_image(2))
    method = Occlusion(side="b")
    found = method.explain(given)
    assert found.heat_a is None
    assert "a cell of B" in method.summary
    assert "nothing about A" in method.limitation
    pixels = input_pixels(model, noise_image(2))
    by_hand = pixels.clone()
    by_hand[:, 8:16, 16:24] = pixels.mean((1, 2), keepdim=True)
    after = model.similarity(given.maps_a, embed_pixels(model, by_hand[None]))[0, 0]
    before = model.similarity(given.maps_a, given.maps_b)[0, 0]
    assert abs(found.heat_b[1, 2].item() - (before - after).item()) < 1e-6
    with pytest.raises(UsageError, match="expected a or b as the side to cover, got 'c'"):
        Occlusion(side="c")


def test_larger_windows_are_averaged_over_the_cells_below_them(small_model, noise_image, one_cell, input_of):
    model = small_model(one_cell((0, 0)), weight=0.0)
    a = noise_image(1)
    found = Occlusion(window=2).explain(input_of(model, a, a)).heat_a
    # The corner is under one window of nine; its neighbour under two, of which one hides the corner as well.
    torch.testing.assert_close(found[0, 1], found[0, 0] / 2, atol=1e-6, rtol=1e-4)
    assert found[2:, 2:].abs().max() < 1e-6


@pytest.mark.parametrize(("grid", "side"), [((4, 4), 1), ((4, 4), 2), ((2, 5), 3), ((3, 3), 9)])
def test_every_cell_lies_under_a_window(grid, side):
    covered = windows(grid, side)
    assert covered.any(dim=0).all()
    assert (covered.sum(dim=1) == min(side, grid[0]) * min(side, grid[1])).all()
    assert len({tuple(row.tolist()) for row in covered}) == len(covered)


def test_windows_and_fills_that_cannot_be():
    with pytest.raises(UsageError, match="expected a window of at least 1 cell, got 0"):
        Occlusion(window=0)
    with pytest.raises(UsageError, match="expected one of the fills blur, mean, got 'noise'"):
        Occlusion(fill="noise")


@pytest.mark.slow
def test_hiding_all_cells_leaves_the_fill_and_hiding_none_the_image():
    pixels = torch.rand(3, 30, 20, generator=torch.Generator().manual_seed(0))
    for fill in (blurred, mean_colour):
        filled = fill(pixels)
        cells = torch.stack([torch.zeros(6).bool(), torch.ones(6).bool()])
        none, every = hidden(pixels, filled, cells, (3, 2))
        assert torch.equal(none, pixels)
        assert torch.equal(every, filled)


def test_cells_divide_the_pixels_as_boxes_do():
    """7 cells of 30 pixels: each pixel's centre lies in its cell."""
    at = cell_of_pixels((7, 1), (30, 1))[:, 0]
    for pixel, cell in enumerate(at.tolist()):
        assert cell * 30 / 7 <= pixel + 0.5 < (cell + 1) * 30 / 7


def test_blur_keeps_the_colour_and_takes_the_detail():
    pixels = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    soft = blurred(pixels)
    torch.testing.assert_close(soft.mean((1, 2)), pixels.mean((1, 2)), atol=5e-3, rtol=0)
    assert soft.std() < 0.2 * pixels.std()
