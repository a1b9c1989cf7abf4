"""diml faithfulness, as a user types it."""

import json

import pytest
from PIL import Image

QUICK = ("--pairs", 4, "--steps", 2, "--method", "structural", "--method", "nearest")


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photograph")
    Image.radial_gradient("L").resize((90, 60)).convert("RGB").save(folder / "one.png")
    return folder


@pytest.mark.slow
def test_a_labelled_collection(diml, shapes, tmp_path):
    done = diml("faithfulness", shapes, *QUICK, "--measure", "deletion", "--out", tmp_path / "new" / "faith")
    assert done.code == 0, done.err
    assert "4 pairs of" in done.out
    assert "| structural |" in done.out
    assert "Correct keypoints" not in done.out
    assert (tmp_path / "new" / "faith" / "deletion-blur.png").stat().st_size > 10_000
    assert done.out.rstrip().endswith("deletion-blur.png")


@pytest.mark.slow
def test_photographs_as_json(diml, photograph):
    done = diml("faithfulness", photograph, *QUICK, "--stable-pairs", 1, "--keypoint-grid", 4, "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["pairs"] == 4
    assert {row["method"] for row in document["removal"]} == {"structural", "nearest", "random", "centre"}
    assert document["keypoints"][0]["by_kind"].keys() == {"same", "flip", "crop", "corner"}
    assert document["accounts"][0]["residual"] < 1e-10


@pytest.mark.slow
def test_the_options_of_matching_are_of_the_model_that_is_measured(diml, photograph):
    quick = ("--pairs", 1, "--method", "structural", "--measure", "deletion", "--steps", 1)
    options = ("--weight", 0.25, "--eps", 0.1, "--mass", 0.8, "--marginals", "cross_correlation")
    done = diml("faithfulness", photograph, *quick, *options)
    assert done.code == 0, done.err
    assert "cross_correlation marginals, weight 0.25, eps 0.1, mass 0.8\n" in done.out


@pytest.mark.long
def test_masks_and_interactions_of_a_labelled_collection(diml, shapes, tmp_path):
    import shutil

    # A copy, since masks in the folder of the drawings would be taken for a class.
    folder = tmp_path / "drawings"
    rows, listed = ["path,mask,kind"], ["path,label"]
    for image in sorted(shapes.glob("*/*.png")):
        name = image.relative_to(shapes).as_posix()
        for place in ("images", "masks"):
            (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, folder / "images" / name)
        Image.open(image).convert("L").point(lambda value: 255 * (value < 120)).save(folder / "masks" / name)
        rows.append(f"images/{name},masks/{name},{image.parent.name}")
        listed.append(f"images/{name},{image.parent.name}")
    (folder / "data.csv").write_text("\n".join(listed))
    (folder / "masks.csv").write_text("\n".join(rows))
    quick = ("--pairs", 2, "--method", "structural", "--method", "sbsm", "--grid", 2, "--against", "structural")
    measures = ("--measure", "objects", "--measure", "interactions", "--subsets", 32, "--weights", "norm2")
    done = diml("faithfulness", folder / "data.csv", "--masks", folder / "masks.csv", *quick, *measures)
    assert done.code == 0, done.err
    assert "weights of parts: norm2\n" in done.out
    assert "Heat on the object, percent" in done.out
    assert "(blur, 32 copies of each image)" in done.out
    assert "| half with half |" in done.out


def test_what_is_refused_before_any_work(refused, shapes, tmp_path):
    refused(2, "got 'magic'", "faithfulness", shapes, "--method", "magic")
    refused(2, "expected --pairs >= 1, got 0", "faithfulness", shapes, "--pairs", 0)
    refused(2, "expected --keypoint-grid to be a number such as 4", "faithfulness", shapes, "--keypoint-grid", "x")
    refused(2, "stability, interactions, got 'luck'", "faithfulness", shapes, "--measure", "luck")
    refused(2, "expected one of the fills blur, mean, got 'white'", "faithfulness", shapes, "--fill", "white")
    for option, value in (("--weight", 2), ("--eps", 0), ("--mass", 0), ("--marginals", "none")):
        refused(2, option[2:], "faithfulness", shapes, option, value, "--out", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    refused(2, "expected --masks with --measure objects, got none", "faithfulness", shapes, "--measure", "objects")
    refused(2, "there is no such file", "faithfulness", shapes, "--masks", tmp_path / "no.csv")
    refused(2, "expected steps >= 1, got 0", "faithfulness", shapes, "--steps", 0)
    refused(2, "there is no such folder or file", "faithfulness", tmp_path / "nothing")
    (tmp_path / "file").touch()
    refused(2, "is a file; expected a folder", "faithfulness", shapes, "--out", tmp_path / "file")
    refused(1, "cannot create the folder", "faithfulness", shapes, "--out", tmp_path / "file" / "below")
