"""What is opened as pairs, and what a model sees of them."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from diml.data import Collection
from diml.errors import DatasetError, UsageError
from diml.faithfulness import ImagePair, KnownPoints, LazyImage, fit_head, open_pairs, pairs_of_classes
from diml.faithfulness import warped_pairs as of_photographs
from diml.faithfulness.embedded_pairs import embed_pairs
from diml.faithfulness.grids import at_grid


def collection(*labels, splits=None):
    return Collection(Path("x"), [f"{i}.png" for i in range(len(labels))], list(labels), splits, name="x")


def both(pairs):
    return [(pair.a.name, pair.b.name) for pair in pairs]


def test_pairs_are_of_one_class_and_each_comes_once():
    pairs = pairs_of_classes(collection(*"aaabbbbc"), 100)
    # 3 * 2 + 4 * 3 ordered pairs; the single image has none.
    assert len(set(both(pairs))) == len(pairs) == 18
    labels = dict(zip([f"x/{i}.png" for i in range(8)], "aaabbbbc", strict=True))
    for pair in pairs:
        assert pair.a.name != pair.b.name
        assert labels[pair.a.name] == labels[pair.b.name] == pair.group


def test_pairs_are_spread_over_the_images():
    pairs = pairs_of_classes(collection(*"aaabbbb"), 7)
    assert len({pair.a.name for pair in pairs}) == 7


def test_the_seed_decides():
    some = collection(*("abcdef" * 4))
    assert both(pairs_of_classes(some, 9)) == both(pairs_of_classes(some, 9))
    assert both(pairs_of_classes(some, 9)) != both(pairs_of_classes(some, 9, seed=1))


def test_only_the_test_half_is_looked_at():
    halves = ["train", "train", "test", "test"]
    assert {pair.group for pair in pairs_of_classes(collection(*"aabb", splits=halves), 10)} == {"b"}
    others = ["query", "gallery", "query", "gallery"]
    assert {pair.group for pair in pairs_of_classes(collection(*"aabb", splits=others), 10)} == {"a", "b"}


def test_queries_come_first_and_only_with_the_gallery_of_their_class():
    splits = ["query", "gallery", "gallery", "train", "query", "query", "gallery"]
    pairs = pairs_of_classes(collection(*"aaaabbb", splits=splits), 10)
    assert set(both(pairs)) == {(f"x/{i}.png", f"x/{j}.png") for i, j in ((0, 1), (0, 2), (4, 6), (5, 6))}
    assert {pair.measured for pair in pairs} == {"b"}
    assert len({pair.a.name for pair in pairs[:3]}) == 3
    with pytest.raises(DatasetError, match="x: expected a query with a gallery image of its class, got none"):
        pairs_of_classes(collection(*"ab", splits=["query", "gallery"]), 10)


def test_classes_of_single_images_are_refused():
    with pytest.raises(DatasetError, match="x: expected a class with at least two images, got none"):
        pairs_of_classes(collection(*"abc"), 10)


def test_a_picture_that_cannot_be_read_is_told_and_its_pairs_left_out(small_model, noise_image, tmp_path):
    from diml.data import open_image

    (tmp_path / "broken.png").write_bytes(b"no image")
    good = [LazyImage(str(s), lambda s=s: noise_image(s)) for s in (1, 2)]
    bad = LazyImage("broken", lambda: open_image(tmp_path / "broken.png"))
    seen, failed = embed_pairs(small_model(), [ImagePair(good[0], bad, ""), ImagePair(*good, "")])
    assert [(each.pair.a.name, each.pair.b.name) for each in seen] == [("1", "2")]
    assert [name for name, _ in failed] == ["broken"]
    assert "broken.png" in failed[0][1]


@pytest.mark.parametrize("fit", ["whole", "crop"])
def test_points_follow_the_image_into_the_models_size(fit, small_model, noise_image):
    import dataclasses

    model = small_model()
    model.encoder.preprocessing = dataclasses.replace(model.encoder.preprocessing, fit=fit, crop=1.0)
    picture = LazyImage("wide", lambda: noise_image(1, (100, 50)))
    points = torch.tensor([[50.0, 25.0], [5.0, 10.0]], dtype=torch.float64)
    [seen], _ = embed_pairs(
        model, [ImagePair(picture, picture, "", points=KnownPoints(points, points, points * torch.nan))]
    )
    # The model sees 32 x 32: all of it, or the middle 50 x 50.
    expected = [[16.0, 16.0], [1.6, 6.4]] if fit == "whole" else [[16.0, 16.0]]
    torch.testing.assert_close(seen.points.a, torch.tensor(expected).double())
    assert seen.points.mirrored.isnan().all()


# --- what a user names -----------------------------------------------------------------------------------------------


def test_a_folder_without_class_folders_is_of_photographs(tmp_path, noise_image):
    for seed in (1, 2):
        noise_image(seed, (60, 40)).save(tmp_path / f"{seed}.png")
    name, pairs = open_pairs(str(tmp_path), 100)
    assert name == str(tmp_path)
    assert len(pairs) == 2 * 9
    assert {pair.kind for pair in pairs} >= {"same", "flip", "occluder"}
    assert len({pair.group for pair in pairs}) == 2
    # As many photographs as the pairs take, each with all of its warps.
    assert len({pair.group for pair in open_pairs(str(tmp_path), 9)[1]}) == 1
    mirrored = next(pair for pair in pairs if pair.kind == "flip")
    assert mirrored.b.read().getpixel((0, 0)) == mirrored.a.read().getpixel((59, 0))


def test_a_photograph_that_cannot_be_read_is_told(small_model, tmp_path, noise_image):
    noise_image(0).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("no image")
    seen, failed = embed_pairs(small_model(), open_pairs(str(tmp_path), 100)[1])
    assert {Path(each.pair.a.name).name for each in seen} == {"a.png"}
    assert len(failed) == 1
    assert "b.png: is not an image" in failed[0][1]


def test_class_folders_are_of_classes(tmp_path, noise_image):
    (tmp_path / "a").mkdir()
    for seed in (1, 2):
        noise_image(seed).save(tmp_path / "a" / f"{seed}.png")
    assert len(open_pairs(str(tmp_path), 100)[1]) == 2
    assert len(open_pairs(f"photos:{tmp_path}", 100)[1]) == 18


def test_scikit_images_photographs_are_opened_from_the_package():
    pytest.importorskip("skimage")
    name, pairs = open_pairs("photos", 27)
    assert name == "photos"
    assert len(pairs) == 27
    assert all(Path(pair.a.name).is_file() for pair in pairs)


def test_without_scikit_image_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(of_photographs, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'diml\[bench\]', or name a folder"):
        open_pairs("photos", 9)


def test_what_is_not_there_is_refused(tmp_path):
    for spec in (tmp_path / "nothing", f"photos:{tmp_path / 'nothing'}"):
        with pytest.raises(UsageError, match="there is no such folder"):
            open_pairs(str(spec), 9)
    with pytest.raises(DatasetError, match="holds no images"):
        open_pairs(f"photos:{tmp_path}", 9)


def cub(root, noise_image):
    (root / "images" / "001.Bird").mkdir(parents=True)
    (root / "parts").mkdir()
    for name in ("a", "b"):
        noise_image(1, (100, 50)).save(root / "images" / "001.Bird" / f"{name}.jpg")
    (root / "images.txt").write_text("1 001.Bird/a.jpg\n2 001.Bird/b.jpg\n")
    (root / "image_class_labels.txt").write_text("1 1\n2 1\n")
    (root / "classes.txt").write_text("1 001.Bird\n")
    (root / "parts" / "parts.txt").write_text("1 beak\n2 left eye\n3 right eye\n")
    (root / "parts" / "part_locs.txt").write_text(
        "1 1 10.0 20.0 1\n1 2 30.0 20.0 1\n1 3 0.0 0.0 0\n2 1 90.0 20.0 1\n2 2 70.0 25.0 1\n2 3 75.0 25.0 1\n"
    )
    return root


def test_birds_come_with_their_parts(tmp_path, noise_image):
    _, pairs = open_pairs(f"cub200:{cub(tmp_path, noise_image)}", 100)
    points = next(pair for pair in pairs if pair.a.name.endswith("a.jpg")).points
    # What both show; the mirrored point is the other eye of the second bird.
    assert points.a.tolist() == [[10.0, 20.0], [30.0, 20.0]]
    assert points.b.tolist() == [[90.0, 20.0], [70.0, 25.0]]
    assert points.mirrored[0].isnan().all()
    assert points.mirrored[1].tolist() == [75.0, 25.0]


def test_birds_without_part_annotations_have_no_points(tmp_path, noise_image):
    import shutil

    cub(tmp_path, noise_image)
    shutil.rmtree(tmp_path / "parts")
    assert open_pairs(f"cub200:{tmp_path}", 100)[1][0].points is None


# --- finer grids ------------------------------------------------------------------------------------------------------


def test_a_finer_grid_takes_a_larger_input(small_model):
    from torch import nn

    model = small_model(nn.Conv2d(3, 6, 8, 8))
    assert at_grid(model, (2, 2)).encoder.preprocessing.size == (32, 32)
    finer = at_grid(model, (7, 7))
    assert finer.encoder.preprocessing.size == (64, 64)
    assert finer.encode(Image.new("RGB", (50, 50))).grid == (7, 7)


def test_a_backbone_for_one_size_is_refused(small_model):
    from torch import nn

    class Fixed(nn.Conv2d):
        def forward(self, pixels):
            if pixels.shape[2] != 32:
                raise ValueError("expected 32 x 32 pixels.\nmore")
            return super().forward(pixels)

    with pytest.raises(UsageError, match=r"64x64 pixels, which the backbone of custom refuses \(expected 32 x 32"):
        at_grid(small_model(Fixed(3, 6, 8, 8)), (7, 7))
    pooling = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.AdaptiveAvgPool2d(4))
    with pytest.raises(UsageError, match="gives 4x4 cells; use at most these"):
        at_grid(small_model(pooling), (7, 7))


def test_a_head_is_fitted_on_the_training_half(small_model, noise_image, tmp_path):
    for half, n in (("train", 12), ("test", 2)):
        (tmp_path / half / "a").mkdir(parents=True)
        for seed in range(n):
            noise_image(seed).save(tmp_path / half / "a" / f"{seed}.png")
    model = small_model()
    fit_head(model, str(tmp_path), 4)
    assert model.dim == 4
    assert model.head_fitted_on == f"12 of the 12 images of {tmp_path}"
    with pytest.raises(UsageError, match="the model custom has a head already"):
        fit_head(model, str(tmp_path), 4)
    damaged = tmp_path / "train" / "a" / "3.png"
    damaged.write_bytes(damaged.read_bytes()[:50])
    model = small_model()
    assert [file for file, reason in fit_head(model, str(tmp_path), 4)] == [str(damaged)]
    assert model.head_fitted_on == f"11 of the 12 images of {tmp_path}"
    folder = tmp_path / "few"
    folder.mkdir()
    for seed in range(3):
        noise_image(seed).save(folder / f"{seed}.png")
    with pytest.raises(UsageError, match="more than 4 images to fit a head of dim 4, got 3"):
        fit_head(small_model(), str(folder), 4)
