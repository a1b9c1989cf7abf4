"""Correspondences lead to the same point of the object, and only where it is visible in both images."""

import json

import numpy as np
import pytest
from PIL import Image

from benchmarks.clutter.build import build
from benchmarks.clutter.correspondences import correspondences
from benchmarks.clutter.known import write_known
from benchmarks.clutter.layers import inverse, moved
from diml.faithfulness import open_pairs


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


def test_tables_of_what_is_known_are_what_the_command_reads(built, tmp_path):
    folder, rows = built
    gallery = [row for row in rows if row["role"] == "gallery" and row["half"] == "test"]
    assert write_known(folder, tmp_path) == (len(gallery), 0)
    assert not (tmp_path / "points.csv").exists()  # different drawings have none
    _, pairs = open_pairs(str(folder / "data.csv"), 100, masks=tmp_path / "masks.csv")
    assert len(pairs) == len(gallery)
    for pair in pairs:
        row = next(row for row in gallery if pair.b.name.endswith(row["path"]))
        assert pair.kind == row["kind"]
        assert pair.masks.object.name.endswith(row["mask"])
        assert (pair.masks.other is not None) == ("other" in row)


def test_points_of_a_model_are_written_for_its_queries_and_gallery_images(tmp_path):
    Image.new("L", (32, 32), 255).save(tmp_path / "mask.png")
    (tmp_path / "points").mkdir()
    pixels = np.array([[[5, 5], [6, 6]], [[4, 4], [20, 8]]], np.float32)
    np.savez(tmp_path / "points" / "chair.npz", pixels=pixels, visible=np.ones((2, 2), bool))
    shared = {"label": "chair", "half": "test", "mask": "mask.png", "kind": "clean"}
    query = {**shared, "path": "clean/chair/0.png", "role": "query"}
    moved_by = [[1, 0, 2], [0, 1, 3]]
    image = {
        **shared,
        "path": "gallery/chair/1.jpg",
        "role": "gallery",
        "source": "clean/chair/1.png",
        "affine": moved_by,
    }
    (tmp_path / "metadata.jsonl").write_text(json.dumps(query) + "\n" + json.dumps(image) + "\n")
    assert write_known(tmp_path, tmp_path / "known") == (1, 1)
    lines = (tmp_path / "known" / "points.csv").read_text().splitlines()
    assert lines[1:] == [
        "clean/chair/0.png,gallery/chair/1.jpg,5.00,5.00,6.00,7.00",
        "clean/chair/0.png,gallery/chair/1.jpg,6.00,6.00,22.00,11.00",
    ]
