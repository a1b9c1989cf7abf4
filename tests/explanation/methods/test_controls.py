"""Controls ignore the content of the images."""

import pytest
import torch

from diml.explanation.methods import CentreControl, IdentityControl, MethodInput, RandomControl
from diml.feature_maps import FeatureMaps


def maps(seed, grid):
    return FeatureMaps(torch.randn(1, grid[0] * grid[1], 3, generator=torch.Generator().manual_seed(seed)), grid)


def pair(a, b):
    """What needs neither a model nor pixels is given none."""
    return MethodInput(None, None, None, a, b)


def test_chance_is_the_same_for_the_same_pair_and_seed_only():
    a, b, c = maps(1, (4, 4)), maps(2, (4, 4)), maps(3, (4, 4))
    one = RandomControl().explain(pair(a, b)).heat_a
    assert torch.equal(one, RandomControl().explain(pair(a, b)).heat_a)
    assert not torch.equal(one, RandomControl(seed=1).explain(pair(a, b)).heat_a)
    assert not torch.equal(one, RandomControl().explain(pair(a, c)).heat_a)


def test_the_strongest_random_cell_is_any_cell():
    counts = torch.zeros(4)
    for seed in range(400):
        found = RandomControl(seed).explain(pair(maps(1, (2, 2)), maps(2, (2, 2))))
        counts[found.heat_a.argmax()] += 1
    # Four standard deviations of a count of 400 draws at 1/4.
    assert (counts - 100).abs().max() < 4 * (400 * 0.25 * 0.75) ** 0.5


def test_the_middle_is_warmest_and_all_sides_are_alike():
    found = CentreControl().explain(pair(maps(1, (5, 3)), maps(2, (4, 4))))
    assert found.heat_a.argmax() == 7
    assert torch.allclose(found.heat_a, found.heat_a.flip(0))
    assert torch.allclose(found.heat_a, found.heat_a.flip(1))


@pytest.mark.parametrize("side", [4, 6, 14])
def test_of_an_even_grid_the_middle_is_four_cells(side):
    found = CentreControl().explain(pair(maps(1, (2, 2)), maps(2, (side, side)))).correspondence
    middle = found[0].reshape(side, side)[side // 2 - 1 : side // 2 + 1, side // 2 - 1 : side // 2 + 1]
    assert (found > 0).sum() == 4 * 4
    torch.testing.assert_close(middle, torch.full((2, 2), 1 / 16).double())


def test_nothing_has_moved():
    same = IdentityControl().explain(pair(maps(1, (3, 4)), maps(2, (3, 4)))).correspondence
    assert torch.equal(same, torch.eye(12).double() / 12)
    finer = IdentityControl().explain(pair(maps(1, (2, 2)), maps(2, (4, 4)))).correspondence
    assert finer[0].reshape(4, 4)[:2, :2].sum() == finer[0].sum()
