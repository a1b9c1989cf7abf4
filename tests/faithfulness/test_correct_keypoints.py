"""Correct keypoints on correspondences that are known to be right, wrong, or silent."""

import math

import pytest
import torch

from diml.faithfulness import WARPS, KnownPoints, correct_keypoints
from diml.faithfulness.correct_keypoints import cells_at, neighbours

SIZE = (120, 80)
GRID = (4, 4)
SAME, FLIP = WARPS[:2]


def score(correspondence, points, grid=GRID):
    return correct_keypoints(correspondence, points, SIZE, grid, grid)


@pytest.mark.parametrize("grid", [(4, 4), (3, 5), (7, 7), (14, 14)])
def test_the_identity_is_right_where_nothing_moved(grid):
    found = score(torch.eye(grid[0] * grid[1]), SAME.points(SIZE), grid)
    assert (found.right, found.near, found.mass, found.best) == (1.0, 1.0, 1.0, 1.0)
    assert found.chance == 1 / (grid[0] * grid[1])


def test_the_identity_takes_left_for_right_where_the_picture_is_mirrored():
    identity = torch.eye(16)
    mirrored = identity.reshape(4, 4, 4, 4).flip(3).reshape(16, 16)
    wrong, right = score(identity, FLIP.points(SIZE)), score(mirrored, FLIP.points(SIZE))
    assert (wrong.right, wrong.confused) == (0.0, 1.0)
    assert (right.right, right.confused) == (1.0, 0.0)


def test_the_middle_column_of_an_odd_grid_has_no_left_and_right():
    found = score(torch.eye(15), FLIP.points(SIZE), (3, 5))
    assert found.confused == 1.0
    assert abs(found.right - 1 / 5) < 0.05


def test_a_silent_row_counts_as_a_guess():
    found = score(torch.zeros(16, 16), SAME.points(SIZE))
    assert math.isclose(found.right, 1 / 16)
    assert math.isclose(found.mass, 1 / 16)


def test_of_equally_strong_cells_each_gets_its_share():
    rows = torch.eye(16)
    rows[:, 5] = 1
    found = score(rows, SAME.points(SIZE))
    # Cell 5 itself has one strongest cell, the others two.
    assert math.isclose(found.right, (15 * 0.5 + 1) / 16)


def test_mass_is_a_share_of_the_row():
    rows = 3 * torch.eye(16) + 1
    found = score(rows * torch.rand(16, 1), SAME.points(SIZE))
    assert math.isclose(found.mass, 4 / 19, rel_tol=1e-6)
    assert found.right == 1.0


@pytest.mark.parametrize("warp", WARPS, ids=lambda warp: warp.name)
def test_no_answer_beats_the_best(warp):
    """The best answer of all: for each cell by itself, every cell of the other image tried."""
    points = warp.points(SIZE)
    found = score(torch.ones(16, 16), points)
    best = 0.0
    here, there = cells_at(points.a, SIZE, GRID), cells_at(points.b, SIZE, GRID)
    rows = torch.zeros(16, 16)
    for cell in range(16):
        counts = [int(((here == cell) & (there == other)).sum()) for other in range(16)]
        rows[cell, max(range(16), key=counts.__getitem__)] = 1
        best += max(counts) / len(points)
    assert math.isclose(found.best, best)
    assert math.isclose(score(rows, points).right, best)


def test_without_points_there_is_nothing_to_say():
    found = score(torch.eye(16), KnownPoints(*torch.zeros(3, 0, 2)))
    assert found.points == 0
    assert math.isnan(found.right)


def test_points_without_a_mirrored_point_cannot_be_confused():
    here = torch.tensor([[5.0, 5.0], [100.0, 5.0]])
    nowhere = torch.full((2, 2), torch.nan)
    assert math.isnan(score(torch.eye(16), KnownPoints(here, here, nowhere)).confused)
    one = torch.stack([nowhere[0], torch.tensor([5.0, 5.0])])
    assert score(torch.eye(16), KnownPoints(here, here, one)).confused == 0.0
    moved = torch.tensor([[5.0, 5.0], [5.0, 75.0]])
    # The second part stays where it was, and that is where its mirrored counterpart lies.
    mirrored = torch.stack([nowhere[0], here[1]])
    assert score(torch.eye(16), KnownPoints(here, moved, mirrored)).confused == 1.0


def test_cells_of_points():
    points = torch.tensor([[0.0, 0.0], [29.9, 0.0], [30.0, 0.0], [120.0, 80.0], [-3.0, 200.0]])
    assert cells_at(points, SIZE, GRID).tolist() == [0, 0, 1, 15, 12]


def test_neighbours_touch():
    touching = neighbours((3, 3))
    assert touching[4].sum() == 9
    assert touching[0].nonzero()[:, 0].tolist() == [0, 1, 3, 4]
    assert torch.equal(touching, touching.mT)
