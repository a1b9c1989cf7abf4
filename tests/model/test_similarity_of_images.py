"""Similarity of whatever a caller has: paths, PIL images, arrays, tensors, maps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diml.embedding import Preprocessing
from diml.errors import ImageError, UsageError
from diml.model import StructuralModel

PHOTOS = Path(__file__).parents[2] / "sample" / "photos"
CAT, CUP = PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg"


@pytest.fixture(scope="module")
def model():
    """Decodes all pixels, as they are in images that a caller has opened."""
    torch.manual_seed(0)
    return StructuralModel.wrap(torch.nn.Conv2d(3, 12, 8, 8), Preprocessing(size=(32, 32), decoding=2))


def kinds(path):
    image = Image.open(path)
    pixels = np.asarray(image.convert("RGB"))
    return [str(path), path, image, pixels]


def test_one_image_with_one_is_the_float_that_is_explained(model):
    expected = model.explain(model.encode(CAT), model.encode(CUP)).similarity.item()
    for cat, cup in zip(kinds(CAT), kinds(CUP), strict=True):
        found = model.similarity(cat, cup)
        assert type(found) is float
        assert found == pytest.approx(expected, abs=1e-6)
    tensors = [torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) for path in (CAT, CUP)]
    assert model.similarity(*tensors) == pytest.approx(expected, abs=0.02)  # resized by another filter


def test_lists_give_a_matrix(model):
    maps = model.encode([CAT, CUP, CAT])
    expected = model.similarity(maps, maps[:2])
    assert expected.shape == (3, 2)
    torch.testing.assert_close(model.similarity([CAT, str(CUP), Image.open(CAT)], [*kinds(CAT)[:1], CUP]), expected)
    torch.testing.assert_close(model.similarity(CAT, [CAT, CUP]), expected[:1])
    torch.testing.assert_close(model.similarity([CAT], CUP), expected[:1, 1:])
    torch.testing.assert_close(model.similarity(maps, [CAT, CUP]), expected)
    arrays = np.stack([np.asarray(Image.open(CAT).convert("RGB"))] * 2)
    torch.testing.assert_close(model.similarity(arrays, maps[1]), expected[:1, 1:].expand(2, 1))
    assert model.similarity(maps[0], maps[1]).shape == (1, 1)


def test_a_list_with_itself_is_embedded_once(model, monkeypatch):
    seen = []
    encode = StructuralModel.encode
    monkeypatch.setattr(StructuralModel, "encode", lambda self, images: seen.append(images) or encode(self, images))
    several = [CAT, CUP]
    matrix = model.similarity(several, several)
    assert seen == [several]
    torch.testing.assert_close(matrix, matrix.mT)


def test_maps_stay_differentiable(model):
    maps = model.encode([CAT, CUP])
    local = maps.local.clone().requires_grad_()
    model.similarity(type(maps)(local, maps.grid), maps).sum().backward()
    assert local.grad.abs().sum() > 0


def test_images_are_matched_and_explained(model):
    maps = model.encode([CAT, CUP])
    expected = model.explain(maps[0], maps[1])
    torch.testing.assert_close(model.explain(CAT, CUP).contributions, expected.contributions, atol=0, rtol=0)
    assert model.explain(CAT, CUP).parts(1) == expected.parts(1)
    assert len(model.match([CAT, CUP], [CUP, CAT])) == 2
    torch.testing.assert_close(model.match(CAT, CUP).plan, model.match(maps[0], maps[1]).plan)
    with pytest.raises(UsageError, match="2"):
        model.explain([CAT, CUP], [CUP])


@pytest.mark.parametrize(
    "given", [np.zeros((3, 8, 8), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((0, 8, 3), "u1")]
)
def test_arrays_that_are_not_images_are_refused(model, given):
    with pytest.raises(ImageError, match=r"array \(H, W, 3\) of uint8 as an image, got"):
        model.encode(given)


def test_what_is_no_image_is_refused(model, tmp_path):
    for given, said in ((3, "got int"), ([3], "got int"), (tmp_path / "none.png", "no such file")):
        with pytest.raises(ImageError, match=said):
            model.similarity(given, CAT)
    with pytest.raises(UsageError, match="images"):
        model.similarity([], [CAT])
