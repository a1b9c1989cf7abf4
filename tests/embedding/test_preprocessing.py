"""Which pixels of the original a model sees, and in which cell."""

import numpy as np
import pytest
import torch
from PIL import Image

from diml.data import open_image
from diml.embedding import Preprocessing
from diml.errors import ImageError, UsageError


def gradient(width, height):
    """Red grows with x, green with y, so a value says where in the original it comes from."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray((np.stack([x, y, 0 * x], axis=2) * 255).round().astype(np.uint8))


@pytest.mark.parametrize("size", [(300, 200), (120, 500), (224, 224), (50, 60)])
@pytest.mark.parametrize("fit", ["whole", "crop"])
def test_visible_is_what_the_pixels_show(size, fit):
    width, height = size
    pixels = Preprocessing(size=(64, 96), fit=fit, crop=0.8)(gradient(width, height))
    assert pixels.size == size
    x0, y0, x1, y1 = pixels.visible
    shown = pixels.values.float() / 255
    for row, column in [(32, 48), (8, 12), (50, 80)]:
        x, y = x0 + (column + 0.5) / 96 * (x1 - x0), y0 + (row + 0.5) / 64 * (y1 - y0)
        assert shown[0, row, column].item() == pytest.approx(x / width, abs=0.02)
        assert shown[1, row, column].item() == pytest.approx(y / height, abs=0.02)
    if fit == "whole":
        assert pixels.visible == (0, 0, width, height)


def test_the_papers_protocol_is_256_then_224():
    pixels = Preprocessing(fit="crop")(Image.new("RGB", (512, 256)))
    assert pixels.values.shape == (3, 224, 224)
    assert pixels.visible == (144, 16, 368, 240)


def test_tensors_and_images_are_seen_alike():
    image = gradient(200, 100)
    tensor = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    preprocessing = Preprocessing(size=(64, 64), interpolation="bilinear")
    of_image = preprocessing.normalise(preprocessing(image).values[None])
    for same in (tensor, tensor.float() / 255):
        of_tensor = preprocessing.normalise(preprocessing(same).values[None])
        torch.testing.assert_close(of_tensor, of_image, atol=0.03, rtol=0)
    assert preprocessing(tensor[:1]).values.shape == (3, 64, 64)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.full((3, 8, 8), float("nan")), "NaN"),
        (torch.full((3, 8, 8), 200.0), "0..1"),
        (torch.zeros(8, 8, 3), "of shape \\(3, H, W\\)"),
        (torch.zeros(3, 0, 8), "of shape \\(3, H, W\\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int32), "uint8"),
    ],
)
def test_wrong_tensors_are_refused(tensor, said):
    with pytest.raises(ImageError, match=said):
        Preprocessing()(tensor)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("settings", [{"fit": "pad"}, {"interpolation": "magic"}, {"crop": 0}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(UsageError):
        Preprocessing(**settings)


@pytest.mark.parametrize("fit", ["whole", "crop"])
def test_a_drafted_image_is_seen_as_the_complete_one(fit, tmp_path):
    """In pixels of the original, and nearly the same values, although the scale divides neither side."""
    gradient(1003, 701).save(tmp_path / "x.jpg", quality=95)
    preprocessing = Preprocessing(size=(64, 96), fit=fit, crop=0.8)
    full, drafted = open_image(tmp_path / "x.jpg"), open_image(tmp_path / "x.jpg", wanted=preprocessing.wanted)
    assert drafted.size == (251, 176)
    expected, found = preprocessing(full), preprocessing(drafted)
    assert (found.size, found.visible) == (expected.size, expected.visible) == ((1003, 701), found.visible)
    assert (found.values.int() - expected.values.int()).abs().max() <= 3


@pytest.mark.parametrize("fit", ["whole", "crop"])
def test_what_is_wanted_is_what_is_resized_to(fit, monkeypatch):
    preprocessing, sizes = Preprocessing(size=(64, 96), fit=fit, crop=0.8), []

    def resize(self, size, *arguments):
        sizes.append(size)
        return Image.new("RGB", size)

    monkeypatch.setattr(Image.Image, "resize", resize)
    for size in [(300, 200), (120, 500), (64, 96), (5000, 40)]:
        preprocessing(Image.new("RGB", size))
        assert sizes[-1] == preprocessing.wanted(size)
