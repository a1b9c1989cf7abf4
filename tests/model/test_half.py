"""Models of another precision than float32 encode, match, and come back as they were saved."""

from pathlib import Path

import pytest
import torch

from diml.embedding import Preprocessing
from diml.model import StructuralModel, rollout_marginals

PHOTOS = Path(__file__).parents[2] / "sample" / "photos"
IMAGES = [PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg"]
DTYPES = [torch.float16, torch.bfloat16, torch.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [pytest.param("lite0", marks=pytest.mark.slow), "timm:test_vit?weights=random"])
@pytest.mark.parametrize("head", [False, True])
def test_models_of_any_precision_encode(name, dtype, head):
    torch.manual_seed(0)
    model = StructuralModel.from_pretrained(name)
    if head:
        model.fit_head(torch.rand(20, 3, 40, 40, generator=torch.Generator().manual_seed(0)), dim=6)
    expected = model.encode(IMAGES)
    similarity = model.similarity(*IMAGES)
    cast = model.to(dtype)
    maps = cast.encode(IMAGES)
    assert (maps.dtype, maps.pooled.dtype) == (torch.float32, torch.float32)
    within = 0.05 if dtype is torch.bfloat16 else 0.01
    cosine = torch.nn.functional.cosine_similarity(maps.local, expected.local, dim=2)
    assert cosine.min() > 1 - within
    assert cast.similarity(*IMAGES) == pytest.approx(similarity, abs=within)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_head_is_fitted_and_a_model_saved_in_its_precision(tmp_path, dtype):
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 12, 8, 8), torch.nn.BatchNorm2d(12))
    model = StructuralModel.wrap(backbone, Preprocessing(size=(32, 32))).to(dtype)
    model.fit_head(torch.rand(20, 3, 40, 40), dim=6)
    model.save_pretrained(tmp_path)
    again = StructuralModel.from_pretrained(
        tmp_path, backbone=torch.nn.Sequential(torch.nn.Conv2d(3, 12, 8, 8), torch.nn.BatchNorm2d(12))
    )
    assert again.fingerprint == model.fingerprint
    assert again.encoder.dtype == dtype
    assert torch.equal(again.encode(IMAGES).local, model.encode(IMAGES).local)


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_is_rolled_out_in_any_precision(dtype):
    torch.manual_seed(0)
    model = StructuralModel.from_pretrained("timm:test_vit?weights=random")
    expected = rollout_marginals(model, IMAGES, 2)
    found = rollout_marginals(model.to(dtype), IMAGES, 2)
    torch.testing.assert_close(found.float(), expected, atol=5e-3, rtol=0)
    assert model.query(IMAGES[0], rollout=2).match_image(IMAGES[1]).converged.all()


def test_a_backbone_without_parameters_computes_in_float32():
    model = StructuralModel.wrap(torch.nn.AvgPool2d(32), Preprocessing(size=(128, 128))).half()
    assert model.encoder.dtype == torch.float32
    assert model.encode(IMAGES).dtype == torch.float32
