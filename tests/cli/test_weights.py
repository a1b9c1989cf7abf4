"""--weights: how parts count, in every command that loads a model."""

import json
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "sample"
CAT, COFFEE = SAMPLE / "photos" / "chelsea.jpg", SAMPLE / "photos" / "coffee.jpg"
KNOWN = "expected weights to be uniform, norm, norm2, rarity, learned, or a product such as norm2*rarity, got 'magic'"


def test_unknown_weights_are_refused_before_a_model_is_loaded(refused, shapes, tmp_path):
    for command in (
        ("explain", CAT, CAT),
        ("evaluate", shapes),
        ("faithfulness", shapes),
        ("index", shapes, "--into", tmp_path / "i.diml"),
    ):
        refused(2, KNOWN, *command, "--model", "none", "--weights", "magic")
    refused(2, "norm, norm2, learned", "train", shapes, "--weights", "rarity", "--out", tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_two_images_are_no_collection(refused):
    refused(
        2, "diml index FOLDER --into NAME.diml --weights 'norm*rarity'", "explain", CAT, CAT, "--weights=norm*rarity"
    )


def test_explain_weighs_parts(diml):
    plain, same, weighted = (
        json.loads(diml("explain", CAT, COFFEE, "--json", "--grid", 2, *options).out)["similarity"]
        for options in (("--weights", "norm"), (), ("--weights", "norm2"))
    )
    assert plain == same != weighted  # by default by norm and rarity, which is not fitted to two images


def test_an_index_is_made_searched_and_explained_with_its_weights(diml, refused, shapes, tmp_path):
    into, image = tmp_path / "shapes.diml", shapes / "disc" / "0.png"
    assert diml("index", shapes, "--into", into, "--weights", "norm2*rarity").code == 0
    assert f"weights      norm2*rarity, fitted on 8 of the 8 images of {shapes}" in diml("info", into).out
    assert "matching     one-sided, uniform marginals, weight 0.85, eps 0.05" in diml("info", into).out
    assert json.loads(diml("info", into, "--json").out)["format"] == 2
    hits = json.loads(diml("search", into, image, "-k", 3, "--json").out)["hits"]
    assert hits[0]["path"] == "disc/0.png"
    shown = json.loads(diml("explain", image, shapes / hits[1]["path"], "--model", into, "--json").out)
    # The index holds float16 maps.
    assert shown["similarity"] == pytest.approx(hits[1]["similarity"], abs=1e-3)
    assert diml("index", shapes, "--into", into, "--weights", "norm2*rarity").code == 0
    refused(1, "expected weights norm2*rarity", "index", shapes, "--into", into, "--weights", "norm")


def test_evaluate_fits_and_names_the_weights(diml, shapes):
    done = diml("evaluate", shapes, "--grid", 2, "--shortlist", "all", "--weights", "rarity")
    assert f"weights of parts: rarity, fitted on 8 of the 8 images of {shapes}" in done.out


@pytest.mark.slow
def test_faithfulness_fits_the_weights(diml, shapes):
    quick = ("--pairs", 2, "--method", "structural", "--measure", "deletion", "--steps", 1)
    assert diml("faithfulness", shapes, *quick, "--weights", "rarity").code == 0
