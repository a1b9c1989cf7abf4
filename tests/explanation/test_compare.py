"""`diml.compare` and its neighbours: from images to explanations, as someone who has read only the README would try."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import diml
from diml.errors import DatasetError, ImageError, UsageError
from diml.explanation import explain_agreement, explain_contrast, explain_pair
from diml.model import StructuralModel

SAMPLE = Path(__file__).parents[2] / "sample"
CAT = SAMPLE / "photos" / "chelsea.jpg"
VIEW = SAMPLE / "photos" / "chelsea-mirrored-cropped-brighter.jpg"


@pytest.fixture(scope="module")
def model():
    return StructuralModel.from_pretrained("lite0")


@pytest.mark.slow
def test_the_verbs_of_a_comparison(tmp_path, model):
    explanation = diml.compare(str(CAT), str(VIEW), model)
    assert isinstance(explanation.similarity, float)
    match = model.explain(model.encode(CAT), model.encode(VIEW))
    assert explanation.similarity == pytest.approx(float(match.similarity[0]), abs=1e-9)
    assert [pair.contribution for pair in explanation.parts(3)] == pytest.approx(
        [pair.contribution for pair in match.parts(3)], abs=1e-9
    )
    document = json.loads(json.dumps(explanation.to_dict(), allow_nan=False))
    assert (document["a"], document["b"], document["model"]) == (str(CAT), str(VIEW), "lite0")
    assert explanation.describe().startswith(f"Similarity {explanation.similarity:.3f}: ")
    assert len(explanation.describe(parts=2).split("\n\n")[1].splitlines()) == 2
    for name in ("why.png", "why.svg", "why.html"):
        explanation.draw(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(UsageError, match="expected parts >= 1, got 0"):
        explanation.describe(parts=0)


def test_whatever_an_image_comes_as(model):
    array = np.asarray(Image.open(CAT).convert("RGB"))
    maps = model.encode(CAT)
    known = diml.compare(CAT, VIEW, model)
    for a in (Image.open(CAT), array, maps):
        assert diml.compare(a, VIEW, model).similarity == pytest.approx(known.similarity, abs=1e-9)


@pytest.mark.slow
def test_settings_reach_the_matching(model):
    for settings in ({"weight": 1.0}, {"eps": 0.1}, {"mass": 0.5}, {"marginals": "cross_correlation"}, {"grid": 2}):
        changed = diml.compare(CAT, VIEW, model, **settings)
        assert changed.similarity != pytest.approx(diml.compare(CAT, VIEW, model).similarity, abs=1e-6)
    document = diml.compare(CAT, VIEW, model, mass=0.5, grid=(2, 3), weight=0.25).to_dict()
    assert (document["mass"], document["grid"], document["weight"]) == (0.5, [2, 3], 0.25)
    part = diml.compare(CAT, VIEW, model, regions=[(0, 0, 200, 150)]).to_dict()
    assert part["part"]["regions"] == [{"box": [0, 0, 200, 150], "weight": 1}]


def test_a_model_named_in_a_loop_is_loaded_once(monkeypatch):
    importlib.import_module("diml.explanation.compare_images")._named.cache_clear()
    loaded = []
    real = StructuralModel.from_pretrained
    monkeypatch.setattr(StructuralModel, "from_pretrained", lambda name: loaded.append(name) or real(name))
    one = Image.new("RGB", (64, 48), "red")
    for _ in range(3):
        diml.compare(one, one, "timm:test_vit?weights=random")
    assert loaded == ["timm:test_vit?weights=random"]


@pytest.mark.slow
def test_a_contrast_of_images(model, tmp_path):
    other = SAMPLE / "photos" / "coffee.jpg"
    contrast = explain_contrast(model, CAT, VIEW, other)
    assert contrast.similarity_a == pytest.approx(explain_pair(model, CAT, VIEW).similarity, abs=1e-9)
    assert contrast.similarity_b == pytest.approx(explain_pair(model, CAT, other).similarity, abs=1e-9)
    assert contrast.describe().splitlines()[0] == f"A: {VIEW}"
    contrast.draw(tmp_path / "rather.pdf")
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        contrast.draw(tmp_path / "rather.html")


def test_an_agreement_of_a_folder(model, tmp_path):
    folder = tmp_path / "cats"
    folder.mkdir()
    for image in (CAT, VIEW):
        (folder / image.name).write_bytes(image.read_bytes())
    (folder / "bad.jpg").write_bytes(b"nothing")
    agreement = explain_agreement(model, folder / CAT.name, folder)
    assert (len(agreement), [skipped.path for skipped in agreement.skipped]) == (1, [str(folder / "bad.jpg")])
    assert agreement.similarity == pytest.approx(explain_pair(model, CAT, VIEW).similarity, abs=1e-6)
    assert agreement.to_dict()["against"] == str(folder)
    with pytest.raises(DatasetError, match=r"none of the 1 images.*bad\.jpg"):
        explain_agreement(model, CAT, [folder / "bad.jpg"])
    with pytest.raises(ImageError):
        explain_agreement(model, folder / "none.jpg", folder)


@pytest.mark.slow
def test_without_images_pictures_are_grey_and_say_so(tmp_path, model):
    maps = model.encode([CAT, VIEW])
    explanation = explain_pair(model, maps[0], maps[1])
    explanation.draw(tmp_path / "why.html")
    assert (tmp_path / "why.html").read_text(encoding="utf-8").count("no image file") == 2
    explanation.draw(tmp_path / "why.png")
    tensor = torch.zeros(3, 64, 48)
    assert explain_pair(model, tensor, tensor).a.picture is None
