"""CUB's part annotations, on a small tree in exactly their layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from diml.data.keypoints import cub_keypoints
from diml.errors import DatasetError, UsageError

NAMES = """1 back
2 beak
3 belly
4 breast
5 crown
6 forehead
7 left eye
8 left leg
9 left wing
10 nape
11 right eye
12 right leg
13 right wing
14 tail
15 throat
"""


def plant(root: Path, locations: str, images: str = "1 001.A/a.jpg\n2 001.A/b.jpg\n") -> Path:
    (root / "parts").mkdir(parents=True)
    (root / "images.txt").write_text(images)
    (root / "parts" / "parts.txt").write_text(NAMES)
    (root / "parts" / "part_locs.txt").write_text(locations)
    return root


@pytest.mark.parametrize("below", ["", "CUB_200_2011"])
def test_what_is_visible_is_read(tmp_path: Path, below: str) -> None:
    plant(tmp_path / below, "1 1 0.0 0.0 0\n1 2 312.0 182.5 1\n1 7 10.0 20.0 1\n2 2 1.0 2.0 1\n")
    found = cub_keypoints(tmp_path)
    assert len(found.names) == 15
    assert found.points == {
        "images/001.A/a.jpg": {"beak": (312.0, 182.5), "left eye": (10.0, 20.0)},
        "images/001.A/b.jpg": {"beak": (1.0, 2.0)},
    }


def test_three_parts_have_two_sides(tmp_path: Path) -> None:
    found = cub_keypoints(plant(tmp_path, "1 1 1.0 1.0 1\n"))
    mirrored = {name: found.mirrored(name) for name in found.names if found.mirrored(name)}
    assert mirrored == {
        "left eye": "right eye",
        "right eye": "left eye",
        "left leg": "right leg",
        "right leg": "left leg",
        "left wing": "right wing",
        "right wing": "left wing",
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 1 5.0 5.0", "locs.txt line 1: says '1 1 5.0 5.0'; expected image id, part id, x, y, and 1 (visible) or 0"),
        ("1 1 5.0 5.0 yes", "line 1: says '1 1 5.0 5.0 yes'"),
        ("1 1 five 5.0 1", "line 1: says '1 1 five 5.0 1'"),
        ("1 1 nan 5.0 1", "line 1: has a position that is not a finite number"),
        ("9 1 5.0 5.0 1", "line 1: names image 9 and part 1; expected ids of images.txt and parts.txt"),
        ("1 16 5.0 5.0 1", "line 1: names image 1 and part 16"),
    ],
)
def test_lines_that_are_wrong(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(DatasetError) as refused:
        cub_keypoints(plant(tmp_path, line + "\n"))
    assert said in str(refused.value)


def test_a_path_that_leads_out_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="leads out of the folder"):
        cub_keypoints(plant(tmp_path, "1 1 1 1 1\n", images="1 ../../secret.jpg\n"))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such folder"):
        cub_keypoints(tmp_path / "nothing")
    (tmp_path / "images.txt").write_text("")
    with pytest.raises(DatasetError, match=r"expected images\.txt, parts/parts\.txt, parts/part_locs\.txt"):
        cub_keypoints(tmp_path)
