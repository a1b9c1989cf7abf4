"""Labels, copies and tables of the food photographs."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.emoji.build import BuildError
from benchmarks.food.build import alike_text, distinct, food_names, summary, table_rows
from benchmarks.food.names import base_name
from benchmarks.food.near_duplicates import most_alike, small


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Apple, green", "apple"),
        ("Chillies, green - all varieties", "chillies"),
        ("Brinjal-1", "brinjal"),
        ("Brinjal - all varieties", "brinjal"),
        ("Tuna", "tuna"),
        ("  Knol -  Khol, leaves", "knol-khol"),
        ("Grapes seeded, round, black", "grapes seeded"),
    ],
)
def test_a_label_is_the_food_without_its_variety(name, label):
    assert base_name(name) == label


def test_of_equal_files_the_first_is_kept():
    assert distinct({"B1": b"2", "A2": b"1", "A1": b"1"}) == ["A1", "B1"]


def test_rows_have_path_label_code_and_name():
    names = {"A001": "Rice, raw", "A002": "Rice, puffed", "B001": "Tuna"}
    rows = table_rows(["A001", "A002", "B001"], names)
    assert rows[0] == ["images/A001.jpeg", "rice", "A001", "Rice, raw"]
    assert "3 distinct photographs of 2 foods; 1 foods have at least two (2 photographs" in summary(rows, 5)
    with pytest.raises(BuildError, match="no name for C001"):
        table_rows(["C001"], names)


def test_a_table_without_names_is_refused():
    with pytest.raises(BuildError, match="Food Code"):
        food_names("code,name\nA001,Rice\n")


def test_a_photograph_stored_again_is_a_near_duplicate(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (9, 16, 3), np.uint8)
    image = Image.fromarray(noise).resize((320, 180), Image.Resampling.BICUBIC)
    image.resize((240, 135)).save(tmp_path / "again.jpg", quality=60)
    other = Image.fromarray(noise[::-1]).resize((320, 180), Image.Resampling.BICUBIC)
    copies = np.stack([small(image), small(other), small(Image.open(tmp_path / "again.jpg"))])
    found = most_alike(copies, 9)
    assert [(pair.first, pair.second) for pair in found if pair.near_duplicates] == [(0, 2)]
    assert "): 1; the most alike:\n  x | z: correlation" in alike_text(found, ["x", "y", "z"])
