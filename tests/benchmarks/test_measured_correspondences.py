"""Points that correspond, by a homography and by disparities, and their check by grey values."""

import csv

import numpy as np
import pytest

from benchmarks.correspondences.build import Pair, point_rows
from benchmarks.correspondences.check import correlations, grey_values
from benchmarks.correspondences.truth import (
    on_lattice,
    places_by_disparity,
    places_by_homography,
    read_homography,
    true_places,
    visible,
)
from benchmarks.correspondences.xfeat import agreement

XML = b'<?xml version="1.0"?><a><H13><rows>3</rows><data>1 2 3 4 5 6\n 7 8.5e0 1</data></H13></a>'


def test_a_homography_is_read_from_xml():
    assert read_homography(XML).tolist() == [[1, 2, 3], [4, 5, 6], [7, 8.5, 1]]


@pytest.mark.parametrize(
    ("xml", "said"),
    [(b"<a><data>1 2</data></a>", "got 2"), (b"<a/>", "got 0"), (b'<!DOCTYPE a [<!ENTITY b "c">]><a/>', "declaration")],
)
def test_other_xml_is_refused(xml, said):
    with pytest.raises(ValueError, match=said):
        read_homography(xml)


def test_a_homography_and_its_inverse_lead_back():
    matrix = np.array([[0.8, -0.2, 20], [0.3, 1.0, -5], [4e-4, -1e-5, 1]])
    size = (120, 90)
    there = on_lattice(places_by_homography(matrix, size, size), 9)
    assert 20 < len(there) < 81
    back = true_places(places_by_homography(np.linalg.inv(matrix), size, (200, 200)), there.b)
    # true_places moves a point with its pixel, which is exact for a shift and near for a smooth homography
    np.testing.assert_allclose(back, there.a, atol=0.4)


def test_what_is_behind_the_camera_is_not_seen():
    behind = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, -1]])
    assert not len(on_lattice(places_by_homography(behind, (8, 8), (8, 8)), 4))


def scene():
    """A textured wall and a square in front of it, seen from the left and the right, with the disparities."""
    wall = np.random.default_rng(0).uniform(0, 255, (60, 120))
    square = np.random.default_rng(1).uniform(0, 255, (20, 30))
    left, right, disparity = wall[:, :100].copy(), wall[:, 4:104].copy(), np.full((60, 100), 4.0)
    left[20:40, 50:80], right[20:40, 38:68] = square, square
    disparity[20:40, 50:80] = 12.0
    return left, right, disparity


def test_pixels_that_the_square_hides_are_not_seen():
    _, _, disparity = scene()
    seen = visible(disparity)
    assert seen[20:40, 50:80].all()
    assert not seen[30, 42:50].any()  # of the wall, what falls on the square in the right image
    assert seen[30, 5:41].all()
    assert seen[10, 5:].all()
    assert not seen[:, :4].any()  # out of the frame
    disparity[0, 50] = np.nan
    assert not visible(disparity)[0, 50]


def test_seen_pixels_look_alike_and_those_beside_them_do_not():
    left, right, disparity = scene()
    points = on_lattice(places_by_disparity(disparity), 30)
    np.testing.assert_array_equal(grey_values(left, points.a), grey_values(right, points.b))
    found = correlations(left, right, points, (0, 3))
    assert found[0] == pytest.approx(1)
    assert abs(found[3]) < 0.3


def test_grey_values_between_pixels_and_outside():
    image = np.array([[0.0, 10], [20, 30]])
    points = np.array([[1.0, 1.0], [1.5, 0.5], [0.5, 1.0], [2.1, 1.0]])
    np.testing.assert_allclose(grey_values(image, points), [15, 10, 10, np.nan])


def test_rows_of_the_table_are_those_that_faithfulness_reads(tmp_path):
    from PIL import Image

    from diml.faithfulness import open_pairs

    pair = Pair("wall", "l.png", "r.png", places_by_disparity(scene()[2]))
    (tmp_path / "images" / "wall").mkdir(parents=True)
    for name in ("l.png", "r.png"):
        Image.new("RGB", (100, 60)).save(tmp_path / "images" / "wall" / name)
    with open(tmp_path / "points.csv", "w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "ax", "ay", "bx", "by", "kind"], *point_rows([pair])])
    (tmp_path / "data.csv").write_text("path,label\nimages/wall/l.png,wall\nimages/wall/r.png,wall\n")
    _, (first, second) = open_pairs(str(tmp_path / "data.csv"), 9, points=tmp_path / "points.csv")
    assert {first.kind, second.kind} == {"wall"}
    assert len(first.points) == len(pair.points)
    forward = first if first.a.name.endswith("l.png") else second
    np.testing.assert_allclose(forward.points.b, pair.points.b)


def test_matches_agree_with_the_truth_by_their_distance():
    places = places_by_disparity(np.full((4, 320), 8.0))
    a = np.array([[100.2, 1.5], [200.5, 2.5], [300.5, 0.5], [2.5, 0.5]])
    of = agreement(a, a - np.array([[8, 0], [14, 0], [30, 0], [8, 0]]), places, (320, 4))
    assert (of.matches, of.known) == (4, 3)
    assert of.within_px == pytest.approx(1 / 3)
    assert of.within_share == pytest.approx(2 / 3)
