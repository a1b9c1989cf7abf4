"""Folders and CSV tables: what is found, what is left out and why, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image

from diml.data.collection import Collection, Skipped, open_folder, open_table
from diml.errors import DatasetError, UsageError


def plant(root: Path, *paths: str) -> Path:
    """Tiny images at these paths below a folder."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / path, "PNG")
    return root


def reasons(collection: Collection) -> dict[str, str]:
    return {skipped.path: skipped.reason for skipped in collection.skipped}


def write_csv(folder: Path, *lines: str, encoding: str = "utf-8") -> Path:
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder / "list.csv"


# --- folders ---------------------------------------------------------------------------------------------------------


def test_walks_in_order_and_leaves_out_what_is_hidden_or_no_image(tmp_path: Path) -> None:
    plant(tmp_path, "b/2.JPG", "a.png", "b/1.webp", "b/deep/er/3.tiff", ".hidden.png", ".git/x.png", "b/.x/y.png")
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "svg.svg").write_text("<svg/>")
    found = open_folder(tmp_path)
    assert found.paths == ["a.png", "b/1.webp", "b/2.JPG", "b/deep/er/3.tiff"]
    assert (found.labels, found.splits, found.columns, found.skipped) == (None, None, {}, [])
    assert (len(found), found.root, found.name) == (4, tmp_path, str(tmp_path))
    assert found.file(1) == tmp_path / "b" / "1.webp"


def test_labels_are_the_first_folder(tmp_path: Path) -> None:
    found = open_folder(plant(tmp_path, "cat/1.png", "cat/deep/2.png", "dog/1.png", "stray.png"), "folder")
    assert list(zip(found.paths, found.labels or [], strict=True)) == [
        ("cat/1.png", "cat"),
        ("cat/deep/2.png", "cat"),
        ("dog/1.png", "dog"),
        ("stray.png", None),
    ]
    with pytest.raises(DatasetError, match=r"the image stray\.png has no label; every image needs one here"):
        _ = found.known_labels
    assert found.subset([2, 0]).known_labels == ["dog", "cat"]


def test_unreadable_images_are_found_and_left_to_the_decoder(tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").touch()
    assert open_folder(tmp_path).paths == ["zero.jpg"]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere: there is no such folder; expected a folder of images"):
        open_folder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"a\.png: is not a folder"):
        open_folder(plant(tmp_path, "a.png") / "a.png")


def test_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        DatasetError,
        match=r"holds no images; looked at the content of the files in it .* for JPEG, PNG",
    ):
        open_folder(tmp_path)
    (tmp_path / "gone.png").symlink_to("nothing.png")
    with pytest.raises(DatasetError, match=r"1 left out, such as gone\.png: is a broken link \(to nothing\.png\)"):
        open_folder(tmp_path)


def test_broken_and_circular_links_are_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "a/1.png")
    (tmp_path / "broken.png").symlink_to("nothing.png")
    (tmp_path / "circle.png").symlink_to("circle.png")
    (tmp_path / "folder").symlink_to("nowhere")
    (tmp_path / "a" / "self").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "root").symlink_to(tmp_path)
    (tmp_path / "a" / "up").symlink_to(tmp_path.parent)
    found = open_folder(tmp_path)
    assert found.paths == ["a/1.png"]
    assert reasons(found) == {
        "broken.png": "is a broken link (to nothing.png)",
        "circle.png": "is a link in a cycle of links",
        "folder": "is a broken link (to nowhere)",
        "a/self": "links to a folder that is in the collection already, as a",
        "a/root": "links to a folder that is in the collection already, as .",
        "a/up": "links back to a folder that contains this collection",
    }


def test_links_are_followed_and_each_folder_is_entered_once(tmp_path: Path) -> None:
    plant(tmp_path, "outside/x/1.png", "in/real/2.png", "single.png")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "in" / "real")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "outside")
    (tmp_path / "outside" / "back").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "one.png").symlink_to(tmp_path / "single.png")
    found = open_folder(tmp_path / "in")
    assert found.paths == ["linked/x/1.png", "one.png", "real/2.png"]
    assert set(reasons(found)) == {"again", "linked/back"}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    plant(tmp_path, "real/1.png")
    (tmp_path / "link").symlink_to("real")
    assert open_folder(tmp_path / "link").paths == ["1.png"]


def test_many_links_between_folders_end(tmp_path: Path) -> None:
    for i in range(12):
        plant(tmp_path, f"{i}/x.png")
    for i in range(12):
        for j in range(12):
            (tmp_path / str(i) / f"to{j}").symlink_to(tmp_path / str(j))
    assert len(open_folder(tmp_path)) == 12


def test_names_that_are_not_utf8_are_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "fine.png", "ünïcode 猫.png")
    try:
        with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):
            pass
        os.mkdir(os.fsencode(tmp_path) + b"/d\xff")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    found = open_folder(tmp_path)
    assert found.paths == ["fine.png", "ünïcode 猫.png"]
    reason = "has a name that is not UTF-8; rename it"
    assert found.skipped == [Skipped("caf\\xe9.png", reason), Skipped("d\\xff", reason)]
    for skipped in found.skipped:
        skipped.path.encode("utf-8")


def test_control_characters_never_reach_the_terminal(tmp_path: Path) -> None:
    plant(tmp_path, "a.png")
    (tmp_path / "evil\x1b[2J\n.png").symlink_to("nothing")
    assert open_folder(tmp_path).skipped[0].path == "evil\\x1b[2J\\n.png"


def test_pipes_are_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    assert reasons(open_folder(tmp_path)) == {"pipe.png": "is not a regular file (a pipe, socket or device)"}


def test_unreadable_folders_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "a.png", "locked/b.png")
    scan = os.scandir

    def refuse(folder: Path) -> object:
        if str(folder).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = open_folder(tmp_path)
    assert found.paths == ["a.png"]
    assert reasons(found) == {"locked": "cannot be read (Permission denied)"}


def test_subset_keeps_everything_in_step(tmp_path: Path) -> None:
    whole = Collection(tmp_path, ["a", "b", "c"], ["x", None, "z"], ["train", "test", "test"], {"n": ["1", "2", None]})
    part = whole.subset([2, 0])
    assert (part.paths, part.labels, part.splits, part.columns) == (
        ["c", "a"],
        ["z", "x"],
        ["test", "train"],
        {"n": [None, "1"]},
    )


# --- tables ----------------------------------------------------------------------------------------------------------


def test_csv_with_all_its_columns(tmp_path: Path) -> None:
    plant(tmp_path, "b.png", "d/a.png", "c.png")
    csv = write_csv(
        tmp_path, "label,path,split,maker", 'cat,b.png,train,"Ann, Bob"', "", "dog,./d//a.png,test,", ",c.png,test"
    )
    found = open_table(csv)
    assert found.paths == ["b.png", "c.png", "d/a.png"]
    assert found.labels == ["cat", None, "dog"]
    assert found.splits == ["train", "test", "test"]
    assert found.columns == {"maker": ["Ann, Bob", None, None]}
    assert (found.root, found.name) == (tmp_path, str(csv))


def test_csv_with_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    plant(tmp_path, "é.png")
    (tmp_path / "list.csv").write_bytes("path,label\r\né.png,x\r\n".encode("utf-8-sig"))
    assert open_table(tmp_path / "list.csv").paths == ["é.png"]


def test_csv_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no\.csv: there is no such file; expected a CSV"):
        open_table(tmp_path / "no.csv")
    with pytest.raises(UsageError, match="is not a regular file"):
        open_table(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(UsageError, match="is not a regular file"):
        open_table(tmp_path / "pipe.csv")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["file,label", "a.png,x"],
            r"has no column path \(columns found: file, label\); expected a first line such as",
        ),
        (["path,class", "a.png,x"], r"has no column label \(columns found: path, class\)"),
        (["path;label", "a.png;x"], r"has no column path and no column label \(columns found: path;label\)"),
        ([""], r"has no column path and no column label \(columns found: none\)"),
        (["path,label,label", "a.png,x,y"], "has the column label twice"),
        (["path,label", "a.png,x,y"], "line 2: has 3 cells under 2 columns; quote cells with commas"),
        (
            ["path,label", "a.png,x", "b.png,y", "./a.png,z"],
            r"names a\.png twice, on lines 2 and 4; remove one of them",
        ),
        (["path,label", "../a.png,x"], r"line 2: the path \.\./a\.png leads out of the folder of the table"),
        (["path,label", "b/../../a.png,x"], r"the path b/\.\./\.\./a\.png leads out of the folder"),
        (["path,label", "/etc/passwd,x"], "the path /etc/passwd leads out of the folder of the table; expected a rel"),
        (["path,label", "nul\0.png,x"], r"the path nul\\x00\.png leads out|is not a CSV table"),
        (["path,label", ",x"], "line 2: does not name a file; expected a path relative to the folder of the table"),
        (["path,label"], "names no images; expected one on each line below the header"),
        (["path,label", "gone.png,x"], r"none of the 1 files that it names \(such as gone\.png\) exists below"),
        (["path,label", '"a.png"x,y'], "is not a CSV table"),
        (["path,label,split", "a.png,x,train", "b.png,y,"], "the column split is empty for 1 of 2 images"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    csv = write_csv(plant(tmp_path, "a.png", "b.png"), *lines)
    with pytest.raises(DatasetError, match=message) as caught:
        open_table(csv)
    assert str(caught.value).startswith(str(csv))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_csv_in_another_encoding(tmp_path: Path, encoding: str) -> None:
    csv = write_csv(tmp_path, "path,label", "a.png,é", encoding=encoding)
    with pytest.raises(DatasetError, match="is not UTF-8 text; save the table as UTF-8"):
        open_table(csv)


def test_rows_without_their_file_are_left_out(tmp_path: Path) -> None:
    plant(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    csv = write_csv(tmp_path, "path,label", "gone.png,x", "a.png,y", "pipe.png,z", "a.png/under.png,z")
    found = open_table(csv)
    assert (found.paths, found.labels) == (["a.png"], ["y"])
    assert reasons(found) == {
        "a.png/under.png": "is on line 5 of list.csv, but there is no such file",
        "gone.png": "is on line 2 of list.csv, but there is no such file",
        "pipe.png": "is on line 4 of list.csv, but it is not a regular file",
    }


def test_labels_of_a_folder_from_a_table_elsewhere(tmp_path: Path) -> None:
    plant(tmp_path / "images", "a.png", "d/b.png", "c.png")
    csv = write_csv(tmp_path, "path,label,split,price", "d/b.png,dog,test,7", "a.png,cat,train,", "gone.png,x,test,1")
    found = open_folder(tmp_path / "images", labels_from=csv)
    assert found.paths == ["a.png", "c.png", "d/b.png"]
    assert found.labels == ["cat", None, "dog"]
    assert found.columns == {"split": ["train", None, "test"], "price": [None, None, "7"]}
    assert reasons(found) == {
        "gone.png": f"is on line 4 of list.csv, but is not among the images in {tmp_path / 'images'}"
    }


def test_a_table_that_names_nothing_in_the_folder(tmp_path: Path) -> None:
    plant(tmp_path / "images", "a.png")
    csv = write_csv(tmp_path, "path,label", "images/a.png,cat")
    with pytest.raises(DatasetError, match=r"none of its 1 paths \(such as images/a\.png\) is an image in .*images"):
        open_folder(tmp_path / "images", labels_from=csv)
    with pytest.raises(UsageError, match=r"labels\.csv: there is no such file"):
        open_folder(tmp_path / "images", labels_from=tmp_path / "labels.csv")
