"""Training images: reproducible, cropped as by torchvision, and normalised for the model."""

import dataclasses
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from diml.data import Collection
from diml.embedding import Preprocessing
from diml.errors import DatasetError, ImageError
from diml.learning.batches.training_images import TrainingImages
from diml.learning.run.settings import DataSettings

SAMPLE = Path(__file__).parents[2] / "sample"
PIXELS = Preprocessing(size=(48, 40), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), interpolation="bilinear")


def photographs(**changes):
    paths = sorted(path.name for path in (SAMPLE / "photos").glob("*.jpg"))[:3]
    collection = Collection(SAMPLE / "photos", paths, ["b", "a", "b"][: len(paths)], name="photos")
    return TrainingImages(collection, PIXELS, DataSettings(spec="photos", **changes), seed=3)


def test_an_item_is_normalised_pixels_of_the_model_and_the_place_of_its_class():
    images = photographs()
    assert images.classes == ["a", "b"]
    pixels, label = images[1]
    assert (pixels.shape, pixels.dtype, label) == ((3, 48, 40), torch.float32, 0)
    mean, std = torch.tensor(PIXELS.mean)[:, None, None], torch.tensor(PIXELS.std)[:, None, None]
    values = (pixels * std + mean) * 255
    assert torch.allclose(values, values.round(), atol=1e-3)
    assert values.min() > -1e-3
    assert values.max() < 255 + 1e-3


def test_what_becomes_of_an_image_follows_from_seed_epoch_and_index_alone():
    images, others = photographs(), photographs()
    others.set_epoch(4)
    images[1], images[2], torch.rand(5)
    images.set_epoch(4)
    assert torch.equal(images[0][0], others[0][0])
    assert torch.equal(images[0][0], images[0][0])
    assert torch.equal(pickle.loads(pickle.dumps(images))[0][0], images[0][0])
    images.set_epoch(5)
    assert not torch.equal(images[0][0], others[0][0])


def test_an_image_that_comes_again_in_an_epoch_is_another_picture():
    images = photographs()
    pictures = [images.again(0, before)[0] for before in range(3)]
    assert torch.equal(pictures[0], images[0][0])
    assert not any(torch.equal(pictures[i], pictures[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert torch.equal(photographs().again(0, 2)[0], pictures[2])


def test_the_callers_random_numbers_stay_as_they_are():
    images = photographs()
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    images[0]
    assert torch.equal(torch.rand(3), expected)


def test_half_of_the_images_are_mirrored_and_none_where_none_is_wanted():
    same, mirrored = photographs(flip=False), photographs()
    count = 0
    for epoch in range(60):
        same.set_epoch(epoch)
        mirrored.set_epoch(epoch)
        one, other = same[0][0], mirrored[0][0]
        flipped = torch.equal(one.flip(-1), other)
        assert flipped or torch.equal(one, other)
        count += flipped
    assert 15 < count < 45


def test_a_crop_is_what_torchvision_makes_of_the_same_box():
    """Except at its edges, where diml uses pixels outside the box and torchvision repeats the border."""
    images = photographs(flip=False)
    image = Image.open(images._collection.file(0)).convert("RGB")
    ours = images._cut(image, 20, 30, 200, 120).float()
    theirs = v2.functional.resized_crop(v2.functional.pil_to_tensor(image), 30, 20, 120, 200, [48, 40], antialias=True)
    inside = (slice(None), slice(2, -2), slice(2, -2))
    assert (ours[inside] - theirs.float()[inside]).abs().max() <= 1
    assert (ours - theirs.float()).abs().mean() < 1


def test_crops_have_the_share_and_the_ratio_that_were_asked_for():
    images = photographs(crop_scale=(0.3, 0.5))
    image = Image.new("RGB", (400, 300))
    shares, ratios = [], []
    for seed in range(200):
        torch.manual_seed(seed)
        crop = images._crop.make_params([image])
        assert 0 <= crop["left"] <= 400 - crop["width"]
        assert 0 <= crop["top"] <= 300 - crop["height"]
        shares.append(crop["width"] * crop["height"] / 120_000)
        ratios.append(crop["width"] / crop["height"])
    assert 0.29 < min(shares) < 0.32
    assert 0.48 < max(shares) < 0.51
    assert 0.74 < min(ratios) < 0.85
    assert 1.2 < max(ratios) < 1.35


@pytest.mark.parametrize("size", [(1, 1), (400, 1), (1, 300), (3, 2)])
def test_images_of_any_shape_can_be_cut(tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "a.png")
    collection = Collection(tmp_path, ["a.png"], ["a"])
    pixels, _ = TrainingImages(collection, PIXELS, DataSettings(spec="x"), 0)[0]
    red = torch.tensor([(1 - 0.4) / 0.2, -0.5 / 0.3, -0.6 / 0.4])
    assert torch.allclose(pixels, red[:, None, None].expand(3, 48, 40), atol=1e-5)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    images = TrainingImages(Collection(tmp_path, ["a.png"], ["a"]), PIXELS, DataSettings(spec="x"), 0)
    with pytest.raises(ImageError, match=r"a\.png"):
        images[0]


def test_every_image_needs_a_label(tmp_path):
    with pytest.raises(DatasetError, match="has no label"):
        TrainingImages(Collection(tmp_path, ["a.png"], None), PIXELS, DataSettings(spec="x"), 0)


def test_crops_are_of_all_pixels_also_where_the_model_needs_fewer(tmp_path):
    with Image.open(SAMPLE / "photos" / "coffee.jpg") as opened:
        opened.resize((1200, 900)).save(tmp_path / "x.jpg")
    collection = Collection(tmp_path, ["x.jpg"], ["a"], name="large")
    data = DataSettings(spec="large", crop_scale=(0.1, 0.2))
    assert PIXELS.decoding == 3
    images, complete = (
        TrainingImages(collection, pixels, data, seed=3) for pixels in (PIXELS, dataclasses.replace(PIXELS, decoding=2))
    )
    assert torch.equal(images[0][0], complete[0][0])
