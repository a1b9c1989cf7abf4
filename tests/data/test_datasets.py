"""Labelled collections, on small trees in exactly the layouts that the data sets come in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diml.data.datasets import open_dataset
from diml.errors import DatasetError, UsageError


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / path, "PNG")
    return root


def rows(spec: str) -> list[tuple[str, str, str]]:
    """(path, label, split) of each image."""
    found = open_dataset(spec)
    return list(zip(found.paths, found.known_labels, found.splits or ["-"] * len(found), strict=True))


# --- folders and tables ----------------------------------------------------------------------------------------------


def test_a_folder_of_class_folders(tmp_path: Path) -> None:
    plant(tmp_path, "cat/1.png", "dog/1.png", "stray.png")
    assert rows(str(tmp_path)) == [("cat/1.png", "cat", "-"), ("dog/1.png", "dog", "-")]
    assert [(s.path, s.reason) for s in open_dataset(str(tmp_path)).skipped] == [
        ("stray.png", "is not in a class folder")
    ]


def test_a_folder_of_halves(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat/1.png", "test/dog/1.png")
    assert rows(str(tmp_path)) == [("test/dog/1.png", "dog", "test"), ("train/cat/1.png", "cat", "train")]


def test_halves_are_not_taken_for_classes(tmp_path: Path) -> None:
    plant(tmp_path, "train/cat/1.png", "test/dog/1.png", "cat/owl/1.png")
    with pytest.raises(DatasetError, match=r"holds class folders below .*test.*; expected train and test alone"):
        open_dataset(str(tmp_path))


def test_an_empty_name_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "cat/1.png")
    monkeypatch.chdir(tmp_path)
    for name in ("", " "):
        with pytest.raises(UsageError, match="got an empty name"):
            open_dataset(name)


def test_halves_without_classes(tmp_path: Path) -> None:
    plant(tmp_path, "train/1.png", "test/1.png")
    with pytest.raises(DatasetError, match="its folders test and train are splits, but there are no class folders"):
        open_dataset(str(tmp_path))


def test_a_folder_without_class_folders(tmp_path: Path) -> None:
    plant(tmp_path, "1.png", "2.png")
    with pytest.raises(DatasetError, match="none of its 2 images has a label; expected a folder of class folders"):
        open_dataset(str(tmp_path))


def test_a_table(tmp_path: Path) -> None:
    plant(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "data.csv").write_text("path,label,split\na.png,x,query\nb.png,x,gallery\nc.png,,gallery\n")
    assert rows(str(tmp_path / "data.csv")) == [("a.png", "x", "query"), ("b.png", "x", "gallery")]
    skipped = open_dataset(str(tmp_path / "data.csv")).skipped
    assert [(s.path, s.reason) for s in skipped] == [("c.png", "has no label in the table")]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (["Train", "val", "TEST"], ["train", "validation", "test"]),
        (["train", "query", "test"], ["train", "query", "gallery"]),
        (["train", "Train", "test"], ["train", "Train", "test"]),
        (["fold1", "fold2", "test"], ["fold1", "fold2", "test"]),
    ],
)
def test_splits_of_a_table_under_their_usual_names(tmp_path: Path, given: list[str], used: list[str]) -> None:
    plant(tmp_path, "0.png", "1.png", "2.png")
    lines = [f"{i}.png,x,{split}" for i, split in enumerate(given)]
    (tmp_path / "data.csv").write_text("\n".join(["path,label,split", *lines]) + "\n")
    assert [split for _, _, split in rows(str(tmp_path / "data.csv"))] == used


@pytest.mark.parametrize("spec", ["nowhere", "cub:somewhere"])
def test_nothing_there(spec: str) -> None:
    with pytest.raises(
        UsageError, match="there is no such folder or file; expected a folder of class folders, a table"
    ):
        open_dataset(spec)


@pytest.mark.parametrize("kind", ["cub200", "cars196", "sop"])
def test_benchmark_without_its_folder(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UsageError, match=f"{kind}:.*nowhere: there is no such folder; expected the folder that holds"):
        open_dataset(f"{kind}:{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "cub200",
            r"expected images\.txt, image_class_labels\.txt, classes\.txt, images/ in it or in its CUB_200_2011/",
        ),
        ("cars196", r"expected cars_annos\.mat and car_ims/, or class folders of images"),
        ("sop", r"expected Ebay_train\.txt, Ebay_test\.txt in it or in its Info_Files/"),
    ],
)
def test_a_wrong_tree_says_what_was_found(tmp_path: Path, kind: str, expected: str) -> None:
    with pytest.raises(DatasetError, match=expected + r".*; found an empty folder$"):
        open_dataset(f"{kind}:{tmp_path}")
    plant(tmp_path, "holiday/1.png", "notes.png")
    with pytest.raises(DatasetError, match=expected + r".*; found holiday/, notes\.png$"):
        open_dataset(f"{kind}:{tmp_path}")


# --- CUB-200-2011 ----------------------------------------------------------------------------------------------------

BIRDS = ["001.Black_footed_Albatross", "002.Laysan_Albatross", "003.Sooty_Albatross", "004.Groove_billed_Ani"]


def cub(root: Path) -> Path:
    images = [f"{bird}/{bird[4:]}_000{i}_12.jpg" for bird in BIRDS for i in (1, 2)]
    plant(root, *(f"images/{image}" for image in images))
    (root / "images.txt").write_text("".join(f"{i} {image}\n" for i, image in enumerate(images, 1)))
    (root / "image_class_labels.txt").write_text("".join(f"{i} {(i + 1) // 2}\n" for i in range(1, 9)))
    (root / "classes.txt").write_text("".join(f"{i} {bird}\n" for i, bird in enumerate(BIRDS, 1)))
    return root


def test_cub(tmp_path: Path) -> None:
    cub(tmp_path / "CUB_200_2011")
    found = rows(f"cub200:{tmp_path}")
    assert found == rows(f"cub200:{tmp_path / 'CUB_200_2011'}")
    assert found[0] == ("images/001.Black_footed_Albatross/Black_footed_Albatross_0001_12.jpg", BIRDS[0], "train")
    assert [(label, split) for _, label, split in found[::2]] == list(
        zip(BIRDS, ["train", "train", "test", "test"], strict=True)
    )
    collection = open_dataset(f"cub200:{tmp_path}")
    assert (collection.name, collection.file(0).is_file()) == ("cub200", True)


def test_cub_classes_are_halved_by_number_not_by_word(tmp_path: Path) -> None:
    cub(tmp_path)
    (tmp_path / "classes.txt").write_text("10 D\n9 C\n2 B\n1 A\n")
    (tmp_path / "image_class_labels.txt").write_text("".join(f"{i} {[1, 2, 9, 10][i % 4]}\n" for i in range(1, 9)))
    assert {(label, split) for _, label, split in rows(f"cub200:{tmp_path}")} == {
        ("A", "train"),
        ("B", "train"),
        ("C", "test"),
        ("D", "test"),
    }


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("image_class_labels.txt", "1 1\n", "image 2 has no class in image_class_labels.txt and classes.txt"),
        ("images.txt", "1\n", r"images\.txt line 1: has 1 words; expected an id and a value"),
        ("images.txt", "1 ../../../etc/passwd\n", r"images\.txt line 1: the path .* leads out of the folder"),
        ("images.txt", "1 no/such.jpg\n", "none of the 1 files that it names .* exists below"),
        ("images.txt", "", "names no images"),
        ("classes.txt", "one bird\n", "a class id is not a number"),
    ],
)
def test_cub_lists_that_are_refused(tmp_path: Path, file: str, content: str, message: str) -> None:
    (cub(tmp_path) / file).write_text(content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(f"cub200:{tmp_path}")


def test_cub_with_a_missing_image(tmp_path: Path) -> None:
    next(cub(tmp_path).glob("images/002*/*_0001_*")).unlink()
    found = open_dataset(f"cub200:{tmp_path}")
    assert len(found) == 7
    assert [s.reason for s in found.skipped] == ["is on line 3 of images.txt, but there is no such file"]


# --- Cars196 ---------------------------------------------------------------------------------------------------------

CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Volvo XC90 SUV 2007", "smart fortwo Convertible 2012"]


def cars(root: Path, ids: list[int] | None = None) -> Path:
    """As cars_annos.mat comes: 1 x n structs of relative_im_path, a box, class and test; 1 x 196 cells of names."""
    from scipy.io import savemat

    ids = ids or [1, 2, 3, 4, 4]
    paths = [f"car_ims/{i:06}.jpg" for i in range(1, len(ids) + 1)]
    plant(root, *paths)
    fields = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test"]
    annotations = np.zeros((1, len(ids)), dtype=[(name, object) for name in fields])
    for i, (path, number) in enumerate(zip(paths, ids, strict=True)):
        annotations[0, i] = (path, 1, 2, 3, 4, np.uint8(number), np.uint8(i % 2))
    names = np.array(CARS, dtype=object)[None]
    savemat(root / "cars_annos.mat", {"annotations": annotations, "class_names": names})
    return root


def test_cars_as_it_comes(tmp_path: Path) -> None:
    assert rows(f"cars196:{cars(tmp_path)}") == [
        ("car_ims/000001.jpg", CARS[0], "train"),
        ("car_ims/000002.jpg", CARS[1], "train"),
        ("car_ims/000003.jpg", CARS[2], "test"),
        ("car_ims/000004.jpg", CARS[3], "test"),
        ("car_ims/000005.jpg", CARS[3], "test"),
    ]


def test_cars_of_a_single_image(tmp_path: Path) -> None:
    assert rows(f"cars196:{cars(tmp_path, [3])}") == [("car_ims/000001.jpg", CARS[2], "test")]


def test_cars_with_a_class_that_has_no_name(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"cars_annos\.mat line 2: class 5 is not one of its 4 class names"):
        open_dataset(f"cars196:{cars(tmp_path, [1, 5])}")


def test_cars_that_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "cars_annos.mat").write_bytes(b"no such table" * 50)
    with pytest.raises(DatasetError, match=r"cars_annos\.mat: cannot be read .*expected the variables annotations"):
        open_dataset(f"cars196:{tmp_path}")


def test_cars_without_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cars(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DatasetError, match=r"takes scipy, which is not installed; pip install 'diml\[mat\]'"):
        open_dataset(f"cars196:{tmp_path}")


def test_cars_in_class_folders(tmp_path: Path) -> None:
    plant(tmp_path, *(f"{car}/0{i}.jpg" for car in CARS for i in (1, 2)))
    halves = ["train", "train", "test", "test"]
    assert [(label, split) for _, label, split in rows(f"cars196:{tmp_path}")[::2]] == list(
        zip(CARS, halves, strict=True)
    )


def test_cars_in_the_halves_of_the_classification_task(tmp_path: Path) -> None:
    """Both folders hold all classes; the classes are halved, whichever folder an image lies in."""
    plant(tmp_path, *(f"{half}/{car}/1.jpg" for half in ("train", "test") for car in CARS))
    found = rows(f"cars196:{tmp_path}")
    assert len(found) == 8
    assert {(label, split) for _, label, split in found} == set(
        zip(CARS, ["train", "train", "test", "test"], strict=True)
    )


def test_cars_in_halves_by_class(tmp_path: Path) -> None:
    plant(tmp_path, "train/D/1.jpg", "train/B/1.jpg", "test/A/1.jpg", "test/C/1.jpg")
    assert {(label, split) for _, label, split in rows(f"cars196:{tmp_path}")} == {
        ("D", "train"),
        ("B", "train"),
        ("A", "test"),
        ("C", "test"),
    }


def test_cars_without_classes(tmp_path: Path) -> None:
    plant(tmp_path, "cars_train/00001.jpg", "cars_test/00001.jpg")
    with pytest.raises(DatasetError, match="found cars_test/, cars_train/"):
        open_dataset(f"cars196:{tmp_path}")


# --- Stanford Online Products ----------------------------------------------------------------------------------------


def sop(root: Path, lists: Path | None = None) -> Path:
    parts = {
        "train": ["1 1 1 bicycle_final/111_0.JPG", "2 1 1 bicycle_final/111_1.JPG", "3 2 2 cabinet_final/112_0.JPG"],
        "test": ["59552 11319 1 bicycle_final/251_0.JPG", "59553 11319 1 bicycle_final/251_1.JPG"],
    }
    (lists or root).mkdir(parents=True, exist_ok=True)
    for split, lines in parts.items():
        text = "\n".join(["image_id class_id super_class_id path", *lines]) + "\n"
        ((lists or root) / f"Ebay_{split}.txt").write_text(text)
        plant(root, *(line.split()[3] for line in lines))
    return root


@pytest.mark.parametrize("place", ["", "Info_Files"])
@pytest.mark.parametrize("above", ["", "Stanford_Online_Products"])
def test_sop(tmp_path: Path, place: str, above: str) -> None:
    sop(tmp_path / above, tmp_path / above / place)
    assert rows(f"sop:{tmp_path}") == [
        ("bicycle_final/111_0.JPG", "1", "train"),
        ("bicycle_final/111_1.JPG", "1", "train"),
        ("bicycle_final/251_0.JPG", "11319", "test"),
        ("bicycle_final/251_1.JPG", "11319", "test"),
        ("cabinet_final/112_0.JPG", "2", "train"),
    ]
    assert open_dataset(f"sop:{tmp_path}").columns["super_class"] == ["bicycle"] * 4 + ["cabinet"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id class path\n", r"Ebay_test\.txt: starts with 'id class path'; expected 'image_id class_id super_class_id"),
        ("image_id class_id super_class_id path\n1 2 3\n", r"Ebay_test\.txt line 2: has 3 words; expected image_id"),
        ("image_id class_id super_class_id path\n1 2 3 /etc/passwd\n", "line 2: the path /etc/passwd leads out"),
        (
            "image_id class_id super_class_id path\n1 2 3 bicycle_final/111_0.JPG\n",
            "names bicycle_final/111_0.JPG twice",
        ),
    ],
)
def test_sop_lists_that_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (sop(tmp_path) / "Ebay_test.txt").write_text(content)
    with pytest.raises(DatasetError, match=message):
        open_dataset(f"sop:{tmp_path}")


def test_the_data_subpackage_is_quick_to_import() -> None:
    import subprocess

    program = "import sys, diml.data; print([m for m in ('torch', 'timm', 'lancedb', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
