"""Warped pictures and their points agree: what is painted at a point is found where the point goes."""

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from diml.faithfulness import WARPS, Warp
from diml.faithfulness.warps import MIRRORED

SIZE = (120, 80)


@pytest.mark.parametrize("warp", WARPS, ids=lambda warp: warp.name)
@pytest.mark.parametrize("point", [(60.0, 40.0), (30.0, 25.0), (85.0, 60.0)])
def test_a_dot_goes_where_its_point_goes(warp, point):
    image = Image.new("RGB", SIZE, "black")
    x, y = point
    ImageDraw.Draw(image).ellipse((x - 4, y - 4, x + 3, y + 3), fill="white")
    there = warp.moved(torch.tensor([point]), SIZE)
    if not warp.shows(there, SIZE).item() or not warp.shows(there + 7, SIZE) or not warp.shows(there - 7, SIZE):
        return
    values = np.asarray(warp.apply(image).convert("L"), dtype=float)
    values = np.where(values > 60, values, 0)
    rows, columns = np.indices(values.shape) + 0.5
    centre = (columns * values).sum() / values.sum(), (rows * values).sum() / values.sum()
    np.testing.assert_allclose(centre, there[0].numpy(), atol=0.35)


def test_a_flip_maps_left_to_right():
    flip = Warp("flip", MIRRORED)
    image = Image.effect_noise(SIZE, 60).convert("RGB")
    assert np.array_equal(np.asarray(flip.apply(image)), np.asarray(image)[:, ::-1])
    points = flip.points(SIZE)
    torch.testing.assert_close(points.b[:, 0], SIZE[0] - points.a[:, 0])
    torch.testing.assert_close(points.b[:, 1], points.a[:, 1])
    # Who takes left for right names the place where the point was.
    torch.testing.assert_close(points.mirrored, points.a)


def test_the_same_picture_is_the_same_to_the_bit():
    image = Image.effect_noise(SIZE, 60).convert("RGB")
    assert np.array_equal(np.asarray(WARPS[0].apply(image)), np.asarray(image))
    points = WARPS[0].points(SIZE)
    assert len(points) == 144
    torch.testing.assert_close(points.a, points.b)


@pytest.mark.parametrize("warp", WARPS, ids=lambda warp: warp.name)
def test_points_are_shown_and_lie_in_both_pictures(warp):
    points = warp.points(SIZE)
    assert 20 <= len(points) <= 144
    for each in (points.a, points.b, points.mirrored):
        assert (each >= 0).all()
        assert (each <= torch.tensor(SIZE)).all()
    assert warp.shows(points.b, SIZE).all()


def test_what_an_occluder_covers_has_no_counterpart():
    warp = Warp("occluder", occluder=(0.0, 0.0, 0.5, 1.0))
    assert (warp.points(SIZE).a[:, 0] >= 60).all()
    image = Image.new("RGB", SIZE, "white")
    ImageDraw.Draw(image).rectangle((0, 0, 29, 79), fill="black")
    left = np.asarray(warp.apply(image))[:, :60]
    assert left.std() == 0
    assert abs(left.mean() - 255 * 0.75) < 1


def test_turning_keeps_distances_and_the_middle():
    turn = next(warp for warp in WARPS if warp.name == "turn 30")
    points = torch.tensor([[60.0, 40.0], [90.0, 40.0]])
    there = turn.moved(points, SIZE)
    assert there[0].tolist() == [60.0, 40.0]
    assert math.isclose((there[1] - there[0]).norm().item(), 30.0, rel_tol=1e-12)
    # y points down: a positive angle turns clockwise.
    assert there[1, 1] > 40
