"""An object pasted by an affine lies where the affine says."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from benchmarks.clutter.layers import Cutout, affine, ground_of, inverse, moved, place, share_covered

SIDE = 120


def square(ground=(255, 255, 255)):
    """A red square from 20 to 60 with a small blue one whose centre is at 50, 30."""
    image, mask = Image.new("RGB", (80, 100), ground), Image.new("L", (80, 100))
    ImageDraw.Draw(image).rectangle((20, 20, 59, 59), fill=(255, 0, 0))
    ImageDraw.Draw(image).rectangle((45, 25, 54, 34), fill=(0, 0, 255))
    ImageDraw.Draw(mask).rectangle((20, 20, 59, 59), fill=255)
    return Cutout(image, mask, ground)


def centre_of(where):
    ys, xs = np.nonzero(where)
    return np.array([xs.mean() + 0.5, ys.mean() + 0.5])


@pytest.mark.parametrize("length", [16, 40, 70])
@pytest.mark.parametrize("degrees", [0, 25, 90, -140])
def test_points_lie_where_the_affine_says(length, degrees):
    cutout = square()
    by = affine(cutout.box, length, degrees, (63, 58))
    layer = place(cutout, by, (SIDE, SIDE))
    picture = layer.over(np.zeros((SIDE, SIDE, 3), np.float32))
    blue = (picture[..., 2] > 127) & (picture[..., 0] < 127)
    np.testing.assert_allclose(centre_of(layer.opacity > 0.5), [63, 58], atol=0.5)
    np.testing.assert_allclose(centre_of(blue), moved([[50, 30]], by)[0], atol=0.7)
    assert layer.opacity.sum() == pytest.approx(length**2, rel=0.04)


def test_inverse_leads_back():
    by = affine((0, 0, 10, 30), 17, 33, (5, 6))
    points = np.array([[1.0, 2.0], [9.0, 28.0]])
    np.testing.assert_allclose(moved(moved(points, by), inverse(by)), points)


@pytest.mark.parametrize("ground", [(255, 255, 255), (236, 236, 236), (10, 200, 30)])
def test_the_ground_of_a_cutout_does_not_shine_through(ground):
    cutout = square(ground)
    layer = place(cutout, affine(cutout.box, 30, 20, (60, 60)), (SIDE, SIDE))
    picture = np.full((SIDE, SIDE, 3), 100, np.float32)
    pasted = layer.over(picture)
    np.testing.assert_allclose(pasted[layer.opacity == 0], 100, atol=1)
    assert (pasted[..., 1] < 101).all()  # neither the object nor the picture has more green than that
    assert pasted[layer.opacity == 1][:, 1].max() < 1


def test_the_ground_is_the_colour_where_the_mask_is_empty():
    cutout = square((236, 230, 1))
    assert ground_of(cutout.image, cutout.mask) == (236, 230, 1)
    assert ground_of(cutout.image, Image.new("L", cutout.image.size, 255)) == (255, 255, 255)


def test_the_box_is_that_of_what_is_visible():
    assert square().box == (20, 20, 60, 60)
    assert Cutout(Image.new("RGB", (7, 9)), Image.new("L", (7, 9))).box == (0, 0, 7, 9)


def test_the_share_that_is_covered():
    below, above = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    below[:, :2] = 1
    above[:2] = 0.5
    assert share_covered(below, above) == 0.25
    assert share_covered(np.zeros((4, 4), np.float32), above) == 0
