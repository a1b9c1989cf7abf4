"""Changed queries: what was done to each is what is noted, and nothing else of the collection changes."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmarks.clutter.build import build
from benchmarks.clutter.scenes import COVERED
from benchmarks.clutter.variants import CROPPED, KEPT, SHIFTED, VARIANTS, write_variants
from benchmarks.errors import BuildError
from diml.data import open_dataset
from diml.evaluation.halves import Halves


@pytest.fixture(scope="module", params=["shapes", "clutter"])
def changed(request, shapes, photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("changed")
    if request.param == "shapes":
        shutil.copytree(shapes, folder, dirs_exist_ok=True)
    else:
        build(shapes, folder, size=64, photographs=photographs)
    write_variants(folder)
    return folder


def notes(folder, kind):
    lines = (folder / "variants.jsonl").read_text().splitlines()
    return [note for note in map(json.loads, lines) if note["kind"] == kind]


def pixels(file):
    return np.asarray(Image.open(file).convert("RGB"), float)


def mask_of(folder, note):
    return np.asarray(Image.open(folder / "masks" / note["source"].removeprefix("images/")), float) / 255


@pytest.mark.parametrize("kind", VARIANTS)
def test_only_the_queries_differ_and_evaluation_reads_the_table(changed, kind):
    collection, first = open_dataset(changed / f"{kind}.csv"), open_dataset(changed / "clean.csv")
    halves, of_clean = Halves.of(collection), Halves.of(first)
    assert sorted(collection.labels[i] for i in halves.queries) == ["bar", "disc"]
    for part in ("train", "gallery"):
        assert [collection.paths[i] for i in getattr(halves, part)] == [first.paths[i] for i in getattr(of_clean, part)]
    assert len(halves.gallery) == 6
    with open(changed / "data.csv", newline="") as file:
        listed = {row["path"] for row in csv.DictReader(file)}
    assert {note["source"] for note in notes(changed, kind)} <= listed
    assert not {note["source"] for note in notes(changed, kind)} & {collection.paths[i] for i in halves.gallery}


def test_clean_queries_are_the_same(changed):
    for note in notes(changed, "clean"):
        np.testing.assert_array_equal(pixels(changed / note["path"]), pixels(changed / note["source"]))


def test_occluders_cover_a_fifth_to_a_half_of_the_object(changed):
    for note in notes(changed, "occluded"):
        differs = np.abs(pixels(changed / note["path"]) - pixels(changed / note["source"])).sum(axis=-1) > 0
        mask = mask_of(changed, note)
        assert COVERED[0] - 1e-4 <= note["covered"] <= COVERED[1] + 1e-4
        assert (differs * mask).sum() <= (note["covered"] + 0.1) * mask.sum()


def test_a_crop_holds_enough_of_the_object_and_shows_what_the_affine_says(changed):
    for note in notes(changed, "cropped"):
        (factor, _, x), (_, _, y) = note["affine"]
        mask = mask_of(changed, note)
        side = round(len(mask) / factor)
        assert CROPPED[0] - 0.02 <= side / len(mask) <= CROPPED[1] + 0.02
        left, top = round(-x / factor), round(-y / factor)
        assert mask[top : top + side, left : left + side].sum() >= KEPT * mask.sum()
        crop = Image.open(changed / note["source"]).crop((left, top, left + side, top + side))
        expected = np.asarray(crop.resize(mask.shape, Image.Resampling.BICUBIC), float)
        assert np.abs(pixels(changed / note["path"]) - expected).mean() < 2


def test_a_shift_moves_the_image_and_fills_with_the_ground(changed):
    for note in notes(changed, "shifted"):
        (_, _, x), (_, _, y) = note["affine"]
        before, after = pixels(changed / note["source"]), pixels(changed / note["path"])
        side = len(before)
        assert SHIFTED[0] * side - 1 <= np.hypot(x, y) <= SHIFTED[1] * side + 1
        into = (slice(max(0, y), side + min(0, y)), slice(max(0, x), side + min(0, x)))
        out_of = (slice(max(0, -y), side + min(0, -y)), slice(max(0, -x), side + min(0, -x)))
        np.testing.assert_array_equal(after[into], before[out_of])
        after[into] = 236
        assert (after == 236).all()


def test_a_blur_keeps_the_mean_and_takes_contrast(changed):
    for note in notes(changed, "blurred"):
        before, after = pixels(changed / note["source"]), pixels(changed / note["path"])
        assert np.abs(np.diff(after, axis=0)).max() < np.abs(np.diff(before, axis=0)).max()
        assert after.mean() == pytest.approx(before.mean(), abs=2)


def test_a_collection_of_one_class_cannot_be_occluded(shapes, tmp_path):
    shutil.copytree(shapes, tmp_path, dirs_exist_ok=True)
    lines = (tmp_path / "data.csv").read_text().splitlines()
    (tmp_path / "data.csv").write_text("\n".join([lines[0], *(line for line in lines if "disc" in line)]) + "\n")
    with pytest.raises(BuildError, match="expected queries of two classes or more, got one class"):
        write_variants(tmp_path)
