"""The clutter collection of a few drawn shapes: what is written is what the metadata says."""

import csv
import hashlib
import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from benchmarks.clutter.build import build
from benchmarks.clutter.layers import Cutout, ground_of, place, share_covered
from benchmarks.clutter.photographs import license_of
from benchmarks.clutter.scenes import COVERED, KINDS, compose, random_for, whole
from benchmarks.errors import BuildError
from diml.data import open_dataset
from diml.evaluation.halves import Halves

SIZE = 64


@pytest.fixture(scope="module")
def built(shapes, photographs, tmp_path_factory):
    into = tmp_path_factory.mktemp("clutter")
    build(shapes, into, size=SIZE, seed=0, photographs=photographs)
    return into


def metadata(folder):
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def opened(file):
    return np.asarray(Image.open(file), np.float32)


def test_evaluation_reads_queries_and_gallery_of_the_test_half(built):
    collection = open_dataset(built / "data.csv")
    halves = Halves.of(collection)
    test = [row for row in metadata(built) if row["half"] == "test"]
    assert {collection.paths[i] for i in halves.queries} == {row["path"] for row in test if row["role"] == "query"}
    assert {collection.paths[i] for i in halves.gallery} == {row["path"] for row in test if row["role"] == "gallery"}
    assert len(halves.queries) == 2
    assert len(halves.gallery) == 6
    assert not {collection.labels[i] for i in halves.train} & {row["label"] for row in test}


def test_no_query_is_pasted_into_the_gallery_and_halves_share_no_photograph(built):
    rows = metadata(built)
    queries = {row["path"] for row in rows if row["role"] == "query"}
    gallery = [row for row in rows if row["role"] == "gallery"]
    assert not queries & {row["source"] for row in gallery}
    assert {(row["half"], row["photograph"]["name"]) for row in gallery} == {("train", "train"), ("test", "test")}


def test_the_mask_is_the_object_placed_by_the_affine_without_what_covers_it(built):
    for row in metadata(built):
        if row["role"] != "gallery":
            continue
        clean, grey = (Image.open(built / path) for path in (row["source"], f"masks/{row['source']}"))
        placed = place(Cutout(clean, grey, ground_of(clean, grey)), row["affine"], (SIZE, SIZE)).opacity
        visible = opened(built / row["mask"]) / 255
        other = opened(built / row["other"]["mask"]) / 255 if "other" in row else np.zeros_like(visible)
        np.testing.assert_allclose(visible, placed * (1 - other), atol=0.006)
        assert share_covered(placed, other) == pytest.approx(row["covered"], abs=0.006)


def test_pixels_agree_with_the_mask(built):
    for row in metadata(built):
        if row["role"] == "gallery":
            pixels, visible = opened(built / row["path"]), opened(built / row["mask"])
            colour = opened(built / row["source"])[24, 24]
            assert np.abs(np.median(pixels[visible == 255], axis=0) - colour).max() < 6, row["path"]


@pytest.mark.parametrize("kind", KINDS)
def test_occluders_cover_as_much_as_promised_and_neighbours_nothing(kind, shapes):
    def cutout(name):
        return Cutout(*(Image.open(shapes / folder / name) for folder in ("images", "masks")), (236, 236, 236))

    ground = Image.new("RGB", (SIZE, SIZE), (0, 0, 200))
    for number in range(12):
        other = cutout("disc/1.png") if "object" in kind else whole(Image.new("RGB", (SIZE, SIZE)))
        scene = compose(cutout(f"box/{number % 4}.png"), ground, kind, other, random_for(str(number), 0))
        if scene.facts["kind"].startswith("behind"):
            assert COVERED[0] - 1e-4 <= scene.facts["covered"] <= COVERED[1] + 1e-4
        else:
            assert scene.facts["covered"] == 0
        assert scene.facts["kind"] in (kind, "alone")
    found = Counter()
    for number in range(400):
        random = random_for(str(number), 1)
        found[str(random.choice(list(KINDS), p=list(KINDS.values())))] += 1
    assert abs(found[kind] / 400 - KINDS[kind]) < 0.08


def test_the_whole_object_stays_in_the_picture(built):
    for row in metadata(built):
        if row["role"] == "gallery":
            clean, grey = (Image.open(built / path) for path in (row["source"], f"masks/{row['source']}"))
            shifted = [[a, b, c + SIZE] for a, b, c in row["affine"]]
            larger = place(Cutout(clean, grey), shifted, (3 * SIZE, 3 * SIZE)).opacity
            assert larger[SIZE : 2 * SIZE, SIZE : 2 * SIZE].sum() >= 0.995 * larger.sum()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(built, shapes, photographs, tmp_path):
    def digests(folder):
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    build(shapes, tmp_path / "again", size=SIZE, seed=0, photographs=photographs)
    build(shapes, tmp_path / "other", size=SIZE, seed=1, photographs=photographs)
    assert digests(tmp_path / "again") == digests(built)
    first = "gallery/" + next(iter(sorted(file.name for file in (built / "gallery").iterdir())))
    changed = [name for name, digest in digests(tmp_path / "other").items() if digests(built).get(name) != digest]
    assert any(name.startswith(first) for name in changed)


def test_credits_stand_beside_the_data(built):
    sources = json.loads((built / "SOURCES.json").read_text())
    assert sources["objects"] == {"shapes": "drawn here"}
    assert [credit["name"] for credit in sources["photographs"]] == ["train", "test"]
    with open(built / "data.csv", newline="") as file:
        assert next(csv.DictReader(file)).keys() == {"path", "label", "split", "half", "role", "kind"}


def test_a_missing_mask_is_one_sentence(shapes, photographs, tmp_path):
    copy = tmp_path / "shapes"
    (copy / "masks").mkdir(parents=True)
    (copy / "data.csv").write_bytes((shapes / "data.csv").read_bytes())
    with pytest.raises(
        BuildError, match=r"expected the mask .*images|expected the mask .*0\.png, it is missing; build"
    ):
        build(copy, tmp_path / "into", photographs=photographs)
    assert not (tmp_path / "into" / "data.csv").exists()


def test_the_licence_is_that_of_the_picture_and_not_of_the_packaging():
    text = (
        "Files: 16.04/a.jpg\nCopyright: 2018, A\nLicense: CC-BY-4.0\n\n"
        "Files: debian/*\n README\nCopyright: 2020, P\nLicense: Expat\n"
    )
    assert license_of(text, "a.jpg") == ("2018, A", "CC-BY-4.0")
    assert license_of(text, "b.jpg") == ("", "")
