"""Correspondences lead to the same point of the object, and only where it is visible in both images."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.clutter.build import build
from benchmarks.clutter.correspondences import correspondences
from benchmarks.clutter.layers import inverse, moved


@pytest.fixture(scope="module")
def built(shapes, photographs, tmp_path_factory):
    into = tmp_path_factory.mktemp("clutter")
    build(shapes, into, size=64, photographs=photographs)
    return into, [json.loads(line) for line in (into / "metadata.jsonl").read_text().splitlines()]


def test_a_pasted_image_corresponds_to_its_clean_one(built):
    folder, rows = built
    clean = {row["path"]: row for row in rows if "source" not in row}
    for row in rows:
        if row["role"] != "gallery":
            continue
        a, b = correspondences(folder, clean[row["source"]], row)
        assert len(a) > 5
        np.testing.assert_allclose(moved(b, inverse(row["affine"])), a)
        for points, of in ((a, clean[row["source"]]), (b, row)):
            mask = np.asarray(Image.open(folder / of["mask"]))
            assert (mask[points[:, 1].astype(int), points[:, 0].astype(int)] >= 128).all()


def test_different_drawings_have_no_known_correspondences(built):
    folder, rows = built
    query = next(row for row in rows if row["role"] == "query")
    other = next(row for row in rows if row["role"] == "gallery" and row["label"] == query["label"])
    assert [part.shape for part in correspondences(folder, query, other)] == [(0, 2), (0, 2)]


def test_views_of_a_model_are_joined_by_the_points_of_its_surface(built, tmp_path):
    mask = Image.new("L", (32, 32), 255)
    mask.paste(0, (0, 0, 16, 32))  # the left half of the second image is covered
    (tmp_path / "points").mkdir()
    Image.new("L", (32, 32), 255).save(tmp_path / "a.png")
    mask.save(tmp_path / "b.png")
    pixels = np.array([[[5, 5], [6, 6], [7, 7]], [[4, 4], [20, 8], [3, 3]]], np.float32)
    visible = np.array([[True, True, True], [True, True, False]])
    np.savez(tmp_path / "points" / "chair.npz", points=np.zeros((3, 3)), pixels=pixels, visible=visible)
    a = {"path": "clean/chair/0.png", "label": "chair", "mask": "a.png"}
    b = {"path": "gallery/chair/1.jpg", "source": "clean/chair/1.png", "label": "chair", "mask": "b.png"}
    b |= {"affine": [[1, 0, 2], [0, 1, 3]]}
    at_a, at_b = correspondences(tmp_path, a, b)
    assert at_a.tolist() == [[6, 6]]
    assert at_b.tolist() == [[22, 11]]
