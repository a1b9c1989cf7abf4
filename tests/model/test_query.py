"""Queries against what the matching functions give for the same maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diml.data import images as images_module
from diml.data import original_of
from diml.embedding import Preprocessing
from diml.errors import ImageError, UsageError
from diml.matching import find_part, mask_weights, region_weights
from diml.model import StructuralModel, rollout_marginals, sources

SAMPLE = Path(__file__).parents[2] / "sample" / "photos"
CAT, CUP = SAMPLE / "chelsea.jpg", SAMPLE / "coffee.jpg"
BOX = (0.0, 0.0, 225.5, 300.0)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return StructuralModel.wrap(torch.nn.Conv2d(3, 12, 8, 8), Preprocessing(size=(32, 32)))


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    return StructuralModel.from_pretrained("timm:test_vit?weights=random")


@pytest.fixture(scope="module")
def cup(model):
    return model.encode(CUP)


@pytest.mark.slow
def test_a_whole_image_is_compared_as_the_model_compares(model, cup):
    query, gallery = model.query(CAT), model.encode([CUP, CAT])
    maps = model.encode(CAT)
    assert (query.part, query.marginals, query.source) == (None, "uniform", CAT)
    assert original_of(query.image).size == Image.open(CAT).size
    assert torch.equal(query.maps.local, maps.local)
    expected = model.explain(maps[[0, 0]], gallery)
    torch.testing.assert_close(query.match(gallery).contributions, expected.contributions, atol=0, rtol=0)
    torch.testing.assert_close(query.match_image(CUP).similarity, expected.similarity[:1])
    torch.testing.assert_close(query.scores(gallery), model.matcher.similarity(maps, gallery)[0])
    indices, scores = query.best(gallery, 5)
    assert indices.tolist() == [1, 0]
    torch.testing.assert_close(scores, query.scores(gallery)[[1, 0]])


@pytest.mark.parametrize("weighed", [True, False])
def test_a_part_is_looked_for_one_sided(model, cup, weighed):
    query = model.query(CAT, regions=[(BOX, 1.0) if weighed else BOX])
    maps = model.encode(CAT)
    weights = region_weights(maps, [(BOX, 1.0)])
    assert (query.marginals, query.part.mask) == ("part", None)
    assert query.part.to_dict() == {
        "regions": [{"box": list(BOX), "weight": 1.0}],
        "mask": None,
        "cells": weights.reshape(4, 4).tolist(),
    }
    expected = find_part(maps.to(torch.float64), cup.to(torch.float64), weights, model.matcher.eps)
    match = query.match(cup)
    assert match.contributions.dtype == torch.float64
    torch.testing.assert_close(match.contributions, expected.contributions, atol=0, rtol=0)
    assert match.chosen == query.part.chosen == [0, 1, 4, 5, 8, 9, 12, 13]
    torch.testing.assert_close(query.scores(cup).double(), match.similarity, atol=1e-5, rtol=0)
    gallery = model.encode([CUP, CAT])
    indices, scores = query.best(gallery, 1)
    assert indices.tolist() == [1]
    torch.testing.assert_close(scores, query.scores(gallery)[1:])


@pytest.mark.usefixtures("unchecked_shapes")
def test_regions_may_be_whole_numbers_and_arrays(model):
    expected = model.query(CAT, regions=[(10.0, 20.0, 300.0, 200.0)]).part.weights
    for region in ((10, 20, 300, 200), [10, 20, 300, 200], np.array([10, 20, 300, 200]), ((10, 20, 300, 200), 3)):
        assert torch.equal(model.query(CAT, regions=[region]).part.weights, expected)


def test_a_mask_is_a_file_an_image_or_values(model, tmp_path):
    values = np.zeros((300, 451), np.uint8)
    values[:150, 100:300] = 255
    Image.fromarray(values).save(tmp_path / "mask.png")
    expected = mask_weights(model.encode(CAT), values).reshape(4, 4)
    for mask in (values > 0, torch.from_numpy(values), Image.fromarray(values), tmp_path / "mask.png"):
        part = model.query(CAT, mask=mask).part
        assert torch.equal(part.weights, expected)
        assert part.mask == (str(mask) if isinstance(mask, Path) else "values")


def test_attention_weighs_both_images(vit):
    query = vit.query(CAT, rollout=2)
    mu = rollout_marginals(vit, [CAT, CUP], 2)
    maps = vit.encode([CAT, CUP])
    expected = vit.with_matcher(marginals=(mu[:1], mu[1:])).explain(maps[0], maps[1])
    match, rollout = query.match_with_rollout([CUP])
    assert query.marginals == "rollout:2"
    torch.testing.assert_close(match.contributions, expected.contributions, atol=1e-6, rtol=0)
    torch.testing.assert_close(match.plan.sum(dim=2).float(), mu[:1], atol=1e-5, rtol=0)
    torch.testing.assert_close(rollout.weights(vit.grid), mu[1:], atol=1e-6, rtol=0)
    assert len(query.match_images([CUP, CAT])) == 2
    torch.testing.assert_close(query.match_image(CUP).similarity, match.similarity)
    for ask in (query.match, query.scores, lambda maps: query.best(maps, 1)):
        with pytest.raises(UsageError, match="use match_image"):
            ask(maps)


def test_maps_tensors_and_arrays_are_queries(model):
    maps = model.encode(CAT)
    assert model.query(maps).image is None
    assert model.query(maps, regions=[BOX]).part.chosen[:2] == [0, 1]
    assert model.query(torch.rand(3, 30, 40)).image is None
    pixels = np.asarray(Image.open(CAT).convert("RGB"))
    query = model.query(pixels)
    assert query.image.size == (451, 300)
    torch.testing.assert_close(query.maps.local, model.with_decoding(2).encode(CAT).local)


def test_an_image_is_decoded_once(model, monkeypatch):
    opened = []
    real = images_module.open_image
    monkeypatch.setattr(
        sources, "open_image", lambda path, *how, **more: opened.append(path) or real(path, *how, **more)
    )
    query = model.query(CAT, regions=[BOX])
    query.match_image(CUP)
    assert opened == [CAT, CUP]
    assert query.image is not None


def test_marginals_have_a_name(model):
    weights = torch.full((1, 16), 1 / 16)
    assert model.with_matcher(marginals="cross_correlation").query(CAT).marginals == "cross_correlation"
    assert model.with_matcher(marginals=(weights, weights)).query(CAT).marginals == "given"
    assert model.with_matcher(marginals=torch.ones_like).query(CAT).marginals == "ones_like"


@pytest.mark.usefixtures("unchecked_shapes")
def test_what_is_refused_before_the_image_is_embedded(model, monkeypatch, tmp_path):
    monkeypatch.setattr(StructuralModel, "encode", lambda *_: pytest.fail("was embedded"))
    for given, said in (
        ({"regions": [BOX], "mask": CAT}, "regions and mask cannot be combined"),
        ({"regions": [BOX], "rollout": 1}, "rollout cannot be combined"),
        ({"regions": [(0.0, 0.0, 500.0, 10.0)]}, "451x300"),
        ({"regions": [(0.0, 0.0, 5.0)]}, r"\(x0, y0, x1, y1\)"),
        ({"regions": (0.0, 0.0, 5.0, 5.0)}, "give a list"),
        ({"mask": np.ones((10, 10))}, "451x300"),
    ):
        with pytest.raises(UsageError, match=said):
            model.query(CAT, **given)
    with pytest.raises(ImageError, match="no such file"):
        model.query(CAT, mask=tmp_path / "none.png")
    with pytest.raises(ImageError, match="no such file"):
        model.query(tmp_path / "none.png")


def test_what_is_refused_of_maps_and_models(model):
    maps = model.encode([CAT, CUP])
    with pytest.raises(UsageError, match="expected feature maps of one image as a query, got 2"):
        model.query(maps)
    with pytest.raises(UsageError, match="rollout needs the image"):
        model.query(maps[0], rollout=1)
    with pytest.raises(UsageError, match="rollout"):
        model.query(CAT, rollout=1)
