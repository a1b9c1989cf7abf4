"""One policy for fitting heads: size, sample, words, and what happens to too few images."""

import random

import pytest
import torch
from PIL import Image

from diml.embedding import Preprocessing
from diml.errors import ImageError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model import HeadFitting, StructuralModel, head_dim, storable


@pytest.fixture
def model():
    torch.manual_seed(0)
    return StructuralModel.wrap(torch.nn.Conv2d(3, 12, 8, 8), Preprocessing(size=(32, 32)))


@pytest.fixture
def files(tmp_path):
    for seed in range(20):
        pixels = torch.randint(0, 256, (8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
        Image.fromarray(pixels.numpy()).save(tmp_path / f"{seed}.png")
    return sorted(tmp_path.glob("*.png"))


def test_the_size_of_a_head():
    assert [head_dim(dim, 12) for dim in (None, 0, 5, 12)] == [12, 0, 5, 12]
    assert head_dim(None, 1280) == 128
    for dim in (-1, 13):
        with pytest.raises(UsageError, match="12 channels"):
            head_dim(dim, 12)


def test_the_sample_is_random_and_the_same_every_time():
    fitting = HeadFitting(4, most=11)
    assert fitting.sample(30) == sorted(random.Random(0).sample(range(30), 11))
    assert fitting.sample(9) == list(range(9))
    assert len(HeadFitting(8, most=11).sample(30)) == 16
    assert HeadFitting(4, most=11, seed=1).sample(30) != fitting.sample(30)


def test_a_head_is_that_of_the_images_by_hand(model, files):
    by_hand = model.with_grid(4).fit_head([files[i] for i in HeadFitting(4, most=10).sample(20)], 4)
    told = []
    assert HeadFitting(4, most=10).fit_files(model, files, "squares", lambda *done: told.append(done))
    assert model.head_fitted_on == "10 of the 20 images of squares"
    torch.testing.assert_close(model.encoder.head.weight, by_hand.encoder.head.weight, atol=1e-4, rtol=1e-4)
    assert told[-1] == (10, 10)


def test_too_few_images_leave_a_model_without_a_head_or_are_refused(model, files):
    assert not HeadFitting(4).fit_files(model, files[:7], "squares")
    assert not model.head_fitted
    assert HeadFitting(4).fit_files(model.with_grid(2), files[:8], "squares")
    assert HeadFitting(4, required=True).fit_files(model.with_grid(2), files[:5], "squares")
    with pytest.raises(UsageError, match="expected more than 4 images to fit a head of dim 4, got 4"):
        HeadFitting(4, required=True).fit_files(model, files[:4], "squares")


def test_images_that_cannot_be_read_count_as_none(model, files):
    means = [model.encode(files[:7]).mean]
    assert not HeadFitting(4).fit(model, means, 20, "squares")
    files[3].write_bytes(b"no image")
    with pytest.raises(ImageError, match=files[3].name):
        HeadFitting(4).fit_files(model, files, "squares")


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_what_is_stored_keeps_its_direction(size):
    local = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0)) * size
    half, pooled = storable(FeatureMaps(local, (2, 2)))
    assert (half.dtype, pooled.dtype) == (torch.float16, torch.float32)
    for kept, full in ((half.float().flatten(1), local.flatten(1)), (pooled, local.mean(dim=1))):
        cosine = torch.nn.functional.cosine_similarity(kept.double(), full.double() / size)
        torch.testing.assert_close(cosine, torch.ones_like(cosine), atol=1e-6, rtol=0)
