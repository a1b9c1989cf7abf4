"""Folders of classes and of splits: told apart by their names, in any case and at any depth, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from diml.data.class_folders import class_folders
from diml.data.collection import open_folder
from diml.data.datasets import open_dataset
from diml.data.split_folders import split_of, splits_of
from diml.errors import DatasetError
from diml.evaluation.halves import Halves


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / path, "PNG")
    return root


def rows(folder: Path) -> list[tuple[str, str, str]]:
    """(path, label, split) of each image."""
    found = open_dataset(folder)
    return list(zip(found.paths, found.known_labels, found.splits or ["-"] * len(found), strict=True))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("training", "testing"),
        ("trainset", "testset"),
        ("train_set", "test_set"),
        ("train-images", "test-images"),
        ("images_train", "images_test"),
        ("cars_train", "cars_test"),
        ("train2017", "test2017"),
        ("trainval", "test"),
        ("images/train", "images/test"),
        ("data/v1/Images/Training", "data/v1/Images/Testing"),
    ],
)
def test_halves_are_used_under_every_usual_name(tmp_path: Path, train: str, test: str) -> None:
    plant(tmp_path, f"{train}/cat/1.png", f"{train}/owl/1.png", f"{test}/dog/1.png", f"{test}/dog/2.png")
    assert rows(tmp_path) == sorted(
        [
            (f"{train}/cat/1.png", "cat", "train"),
            (f"{train}/owl/1.png", "owl", "train"),
            (f"{test}/dog/1.png", "dog", "test"),
            (f"{test}/dog/2.png", "dog", "test"),
        ]
    )


@pytest.mark.parametrize("third", ["val", "Valid", "validation", "dev", "val2017"])
def test_a_third_folder_is_for_validation(tmp_path: Path, third: str) -> None:
    plant(tmp_path, "train/cat/1.png", "test/dog/1.png", f"{third}/owl/1.png")
    assert {label: split for _, label, split in rows(tmp_path)} == {
        "cat": "train",
        "dog": "test",
        "owl": "validation",
    }


@pytest.mark.parametrize("test", ["test", "gallery", "image_test", "database"])
def test_queries_are_searched_in_what_is_beside_them(tmp_path: Path, test: str) -> None:
    plant(tmp_path, "train/cat/1.png", "query/dog/1.png", f"{test}/dog/2.png", f"{test}/owl/2.png")
    found = open_dataset(tmp_path)
    halves = Halves.of(found)
    assert [found.paths[i] for i in halves.queries] == ["query/dog/1.png"]
    assert sorted(found.paths[i] for i in halves.gallery or []) == [f"{test}/dog/2.png", f"{test}/owl/2.png"]


def test_splits_inside_of_the_classes(tmp_path: Path) -> None:
    plant(tmp_path, "cat/Train/1.png", "cat/Test/2.png", "dog/Train/1.png", "stray.png")
    assert rows(tmp_path) == [
        ("cat/Test/2.png", "cat", "test"),
        ("cat/Train/1.png", "cat", "train"),
        ("dog/Train/1.png", "dog", "train"),
    ]


def test_folders_that_only_say_images_are_no_classes(tmp_path: Path) -> None:
    plant(tmp_path, "train/images/cat/1.png", "test/images/dog/1.png")
    assert [row[1:] for row in rows(tmp_path)] == [("dog", "test"), ("cat", "train")]


MARKET = [
    "bounding_box_train/0002_c1s1_000451_03.jpg",
    "bounding_box_train/0007_c3s3_077419_03.jpg",
    "bounding_box_test/-1_c1s1_000401_03.jpg",
    "bounding_box_test/0000_c1s1_000151_01.jpg",
    "bounding_box_test/0001_c1s1_001051_03.jpg",
    "query/0001_c2s1_000301_00.jpg",
    "gt_bbox/0001_c1s1_001051_00.jpg",
]


@pytest.mark.parametrize("place", ["", "Market-1501-v15.09.15/"])
def test_market_1501(tmp_path: Path, place: str) -> None:
    plant(tmp_path, *(place + path for path in MARKET))
    assert [(path.removeprefix(place), label, split) for path, label, split in rows(tmp_path)] == [
        ("bounding_box_test/0000_c1s1_000151_01.jpg", "0000", "gallery"),
        ("bounding_box_test/0001_c1s1_001051_03.jpg", "0001", "gallery"),
        ("bounding_box_train/0002_c1s1_000451_03.jpg", "0002", "train"),
        ("bounding_box_train/0007_c3s3_077419_03.jpg", "0007", "train"),
        ("query/0001_c2s1_000301_00.jpg", "0001", "query"),
    ]
    assert {(s.path.removeprefix(place), s.reason) for s in open_dataset(tmp_path).skipped} == {
        ("bounding_box_test/-1_c1s1_000401_03.jpg", "shows no person, as its name begins with -1"),
        ("gt_bbox/0001_c1s1_001051_00.jpg", "is not in a class folder"),
    }


def test_many_images_without_a_class_are_one_line(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat/1.png", *(f"test/{i}.png" for i in range(5)))
    found = open_dataset(tmp_path)
    assert [(s.path, s.reason) for s in found.skipped] == [
        ("test", "5 images in it are left out; the first is not in a class folder")
    ]
    assert found.splits == ["train"]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (
            ["Train/1.png", "Test/2.png"],
            "its folders Test and Train are splits, but there are no class folders in them",
        ),
        (["train/images/1.png", "test/images/2.png"], "there are no class folders in them; add one for each class"),
        (["Train/cat/1.png", "Test/dog/1.png", "owl/owl/1.png"], "holds class folders below Test, Train"),
        (
            ["Train/1.png", "Test/1.png", "labels/1.png"],
            "folders Test, Train are splits, but labels beside them is none",
        ),
        (["all/Train/cat/1.png", "all/Test/dog/1.png", "all/owl/x/1.png"], "holds class folders below Test, Train"),
        (["train/cat/1.png", "Training/dog/1.png"], "Training and train both name the train split; leave one out"),
        (["trainval/cat/1.png", "val/dog/1.png"], "trainval and val overlap"),
        (["train/cat/1.png", "test/dog/1.png", "gallery/dog/1.png"], "splits of two kinds of evaluation"),
        (["train/cat/1.png", "query/dog/1.png"], "queries and a gallery need each other"),
        (["images/train/cat/1.png", "masks/train/cat/1.png"], "its folders images, masks holds splits with class fold"),
        (["images/cat/1.png", "images/dog/1.png"], "all of its class folders lie below images; give that folder"),
    ],
)
def test_folders_that_can_be_neither(tmp_path: Path, paths: list[str], message: str) -> None:
    plant(tmp_path, *paths)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(tmp_path)
    assert "a table with a column split" in str(caught.value)
    assert "\n" not in str(caught.value)
    # An index only stores labels, so there the first folder is good enough.
    assert open_folder(tmp_path, "folder").known_labels == [path.split("/")[0] for path in sorted(paths)]


def test_a_class_that_has_the_name_of_a_split(tmp_path: Path) -> None:
    plant(tmp_path, "train/1.png", "bus/1.png", "tram/1.png", "test_tube/1.png")
    assert [row[1:] for row in rows(tmp_path)] == [("bus", "-"), ("test_tube", "-"), ("train", "-"), ("tram", "-")]


def test_one_class_with_folders_in_it_stays_a_class(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "cat/in/1.png", "cat/out/1.png")
    assert class_folders(["cat/1.png", "cat/in/1.png", "cat/out/1.png"]).unclear == ""
    assert {label for _, label, _ in rows(tmp_path)} == {"cat"}


def test_the_labels_of_an_index_are_the_classes(tmp_path: Path) -> None:
    found = open_folder(plant(tmp_path, "Train/cat/1.png", "Test/dog/1.png"), "folder")
    assert (found.labels, found.splits) == (["dog", "cat"], None)


def test_names_of_ordinary_classes_are_no_splits() -> None:
    for name in ("cat", "train station", "steam_train", "contest", "latest", "2017", "1f408-cat", "images", "trains"):
        assert split_of(name) is None, name
    assert splits_of(["steam_train", "toy_train"]) == {}
