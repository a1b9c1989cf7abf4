"""Tables in every format, with what other programs write into them; the paths they name; and their limits."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from diml.data import open_dataset, open_folder, open_table, table_formats
from diml.data.collection import Collection
from diml.errors import DatasetError, UsageError


def plant(root: Path, *paths: str) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / path, "PNG")
    return root


def write(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def shown(found: Collection) -> list[tuple[str, str | None]]:
    return list(zip(found.paths, found.labels or [], strict=True))


# --- formats ---------------------------------------------------------------------------------------------------------


def planted_table(folder: Path, ending: str) -> Path:
    """The same table in each format."""
    plant(folder, "a.png", "b.png")
    rows = [
        {"path": "a.png", "label": "x, y", "split": "query", "count": 3},
        {"path": "b.png", "label": "7", "split": "gallery", "count": None},
    ]
    file = folder / f"list.{ending}"
    if ending == "csv":
        return write(file, "path,label,split,count", 'a.png,"x, y",query,3', "b.png,7,gallery,")
    if ending in ("tsv", "tab"):
        return write(file, "path\tlabel\tsplit\tcount", "a.png\tx, y\tquery\t3", "b.png\t7\tgallery\t")
    if ending in ("jsonl", "ndjson"):
        return write(file, json.dumps(rows[0]), "", json.dumps({**rows[1], "label": 7}))
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


@pytest.mark.parametrize("ending", ["csv", "tsv", "tab", "jsonl", "ndjson", "parquet", "pq"])
def test_every_format_gives_the_same(tmp_path: Path, ending: str) -> None:
    found = open_dataset(planted_table(tmp_path, ending))
    assert shown(found) == [("a.png", "x, y"), ("b.png", "7")]
    assert (found.splits, found.columns) == (["query", "gallery"], {"count": ["3", None]})


def test_parquet_is_told_by_its_content(tmp_path: Path) -> None:
    planted_table(tmp_path, "parquet").rename(tmp_path / "list.csv")
    assert len(open_table(tmp_path / "list.csv")) == 2


def test_values_of_parquet(tmp_path: Path) -> None:
    plant(tmp_path, "a.png", "b.png")
    index = pa.array([0, 1])
    columns = {
        "path": ["a.png", "b.png"],
        "label": pa.array(["x", "x"]).dictionary_encode(),
        "size": [1.5, float("nan")],
    }
    pq.write_table(pa.table({**columns, "good": [True, None], "__index_level_0__": index}), tmp_path / "t.parquet")
    found = open_table(tmp_path / "t.parquet")
    assert (found.labels, found.columns, found.notes) == (
        ["x", "x"],
        {"size": ["1.5", None], "good": ["True", None]},
        [],
    )


@pytest.mark.parametrize(
    ("ending", "content", "message"),
    [
        ("jsonl", b'{"path": "a.png"', r"line 1: is not JSON \(Expecting.*\); expected an object such as"),
        ("jsonl", b'["a.png", "x"]', "line 1: is not an object; expected an object such as"),
        ("jsonl", b'{"path": ["a.png"], "label": 1}', "line 1: path holds several values; expected a text or a number"),
        ("jsonl", b'{"path": "a", "path": "b"}', "line 1: has path twice; remove one of them"),
        ("jsonl", b"[" * 200_000, "line 1: is not JSON"),
        ("jsonl", b"1" * 10_000, "line 1: is not JSON"),
        ("jsonl", b'{"path": "a.png"}', "has no column label"),
        ("jsonl", b"\xff\xfe", "is not UTF-8 text"),
        ("tsv", b"path,label\na.png,x\n", r"has no column path and no column label \(columns found: path,label\)"),
        ("tsv", b'path\tlabel\n"a.png"x\ty\n', "is not a TSV table .*; check its quotes and tabs"),
        ("csv", b"path;label\na.png;x\n", "its cells are to be separated by commas"),
        ("csv", b"\x1f\x8b\x08\x00", r"is compressed \(gzip\); unpack it"),
        ("csv", b"PK\x03\x04", "is an Excel or ZIP file; save the table as CSV"),
        ("parquet", b"PAR1 and nothing more PAR1", r"is not a Parquet table that can be read \(.*\); write it again"),
        ("parquet", b"PAR1", "is not a Parquet table that can be read"),
    ],
)
def test_files_that_are_no_tables(tmp_path: Path, ending: str, content: bytes, message: str) -> None:
    file = plant(tmp_path, "a.png") / f"list.{ending}"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=message) as caught:
        open_table(file)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_parquet_of_lists_and_bytes(tmp_path: Path) -> None:
    for column in (pa.array([[1]]), pa.array([b"x"]), pa.array([{"path": "a.png"}])):
        pq.write_table(pa.table({"path": ["a.png"], "label": ["x"], "image": column}), tmp_path / "t.parquet")
        with pytest.raises(
            DatasetError, match=r"the column image holds .*; expected texts and numbers, so leave it out"
        ):
            open_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    file = planted_table(tmp_path, ending)
    monkeypatch.setattr(table_formats, "MAX_CELLS", 7)
    with pytest.raises(
        DatasetError, match="has more than 7 cells; expected at most 7: leave columns out, or divide it"
    ):
        open_table(file)
    monkeypatch.setattr(table_formats, "MAX_CELLS", 8)
    assert len(open_table(file)) == 2
    monkeypatch.setattr(table_formats, "MAX_BYTES", 10)
    with pytest.raises(DatasetError, match=r"has [\d,]+ bytes.*; expected at most 10 bytes"):
        open_table(file)


def test_a_text_of_parquet_that_is_repeated_is_counted_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "a.png")
    labels = pa.array(["x" * 100_000] * 1000)
    pq.write_table(pa.table({"path": ["a.png"] * 1000, "label": labels}), tmp_path / "t.parquet", compression="zstd")
    assert os.path.getsize(tmp_path / "t.parquet") < 10_000
    monkeypatch.setattr(table_formats, "MAX_BYTES", 2**20)
    monkeypatch.setattr(table_formats, "as_text", pytest.fail)
    with pytest.raises(DatasetError, match="more than 1,048,576 bytes of text"):
        open_table(tmp_path / "t.parquet")


# --- columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        [",path,label", "0,a.png,x", "1,b.png,y"],
        ["Unnamed: 0,path,label", "0,a.png,x", "1,b.png,y"],
        ["Unnamed: 0.1,Unnamed: 0,path,label".replace("0.1", "1"), "0,0,a.png,x", "1,1,b.png,y"],
        ["path,label,", "a.png,x,", "b.png,y,"],
        ["path,label,,", "a.png,x,,", "b.png,y,,"],
        ["path,label", "a.png,x,", "b.png,y,,"],
        ["path, label", "a.png, x", "b.png, y"],
    ],
)
def test_row_numbers_and_commas_at_the_end(tmp_path: Path, lines: list[str]) -> None:
    found = open_table(write(plant(tmp_path, "a.png", "b.png") / "list.csv", *lines))
    assert shown(found) == [("a.png", "x"), ("b.png", "y")]
    assert (found.columns, found.notes) == ({}, [])


def test_a_column_without_a_name_that_holds_something(tmp_path: Path) -> None:
    file = write(plant(tmp_path, "a.png") / "list.csv", "path,label,", "a.png,x,Ann")
    assert open_table(file).notes == [f"{file}: column 3 has no name and is left out; name it to keep it"]


# --- paths -----------------------------------------------------------------------------------------------------------


def test_paths_that_lead_below_the_folder_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = plant(tmp_path / "data", "a.png", "in/b.png", "in/c.png", "d e.png")
    (tmp_path / "link").symlink_to(home)
    lines = [f"{home}/a.png,1", "../data/in/b.png,2", f"{tmp_path}/link/in/c.png,3", f"{(home / 'd e.png').as_uri()},4"]
    write(home / "list.csv", "path,label", *lines)
    expected = [("a.png", "1"), ("d e.png", "4"), ("in/b.png", "2"), ("in/c.png", "3")]
    assert shown(open_table(home / "list.csv")) == expected
    assert shown(open_table(tmp_path / "link" / "list.csv")) == expected
    monkeypatch.chdir(home)
    assert shown(open_table("list.csv")) == expected
    assert shown(open_folder(".", labels_from="list.csv")) == expected


@pytest.mark.parametrize("path", ["../other/x.png", "/etc/passwd", "../data2/x.png", "..\\..\\x.png", "in/../../x.png"])
def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    plant(tmp_path, "data/a.png", "other/x.png", "data2/x.png", "x.png")
    file = write(tmp_path / "data" / "list.csv", "path,label", "a.png,1", f"{path},2")
    if "\\" in path:
        assert open_table(file).paths == ["a.png"]
        return
    with pytest.raises(DatasetError, match=r"line 3: the path .* leads out of the folder of the table; expected a rel"):
        open_table(file)


def test_a_path_that_leads_out_of_the_folder_of_the_images(tmp_path: Path) -> None:
    plant(tmp_path, "data/a.png")
    file = write(tmp_path / "list.csv", "path,label", "../a.png,1")
    with pytest.raises(DatasetError, match="leads out of the folder of the images"):
        open_folder(tmp_path / "data", labels_from=file)


NAMES = ["café/né.png", "über.png"]


@pytest.mark.parametrize(("on_disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_names_in_another_unicode_form(tmp_path: Path, on_disk: str, listed: str) -> None:
    stored = [unicodedata.normalize(on_disk, name) for name in NAMES]  # type: ignore[arg-type]
    plant(tmp_path, *stored)
    rows = [unicodedata.normalize(listed, name) + ",x" for name in NAMES]  # type: ignore[arg-type]
    file = write(tmp_path / "list.csv", "path,label", *rows)
    found = open_table(file)
    # The name on the disk, as when the folder is searched: the id of an image does not depend on the table.
    assert (sorted(found.paths), found.skipped) == (sorted(open_folder(tmp_path).paths), [])
    labelled = open_folder(tmp_path, labels_from=file)
    assert (labelled.labels, labelled.skipped) == (["x", "x"], [])


def test_two_spellings_of_one_file_are_one_file(tmp_path: Path) -> None:
    plant(tmp_path, "é.png")
    file = write(tmp_path / "list.csv", "path,label", "é.png,1", "e\u0301.png,2")
    with pytest.raises(DatasetError, match="twice, on lines 2 and 3"):
        open_table(file)


def test_spaces_and_backslashes(tmp_path: Path) -> None:
    plant(tmp_path, "in/a.png ", "in/ b.png", "c.png")
    file = write(tmp_path / "list.csv", "path,label", '"in/a.png ",1', "in\\b.png,2", "c.png  ,3")
    assert shown(open_table(file)) == [("c.png", "3"), ("in/ b.png", "2"), ("in/a.png ", "1")]


def test_hints_for_what_is_not_there(tmp_path: Path) -> None:
    plant(tmp_path, "a.png", "in/Photo.PNG")
    lines = ["a.png,1", "https://example.org/x/../../../../a.png,2", "s3://b/a.png,2", "in/photo.png,3", "b.png,4"]
    found = open_table(write(tmp_path / "list.csv", "path,label", *lines))
    assert found.paths == ["a.png"]
    url = "it is a URL; download the image and name the file"
    assert {s.path: s.reason.partition(", but ")[2] for s in found.skipped} == {
        "b.png": "there is no such file",
        "https://example.org/x/../../../../a.png": url,
        "in/photo.png": "there is no such file; there is Photo.PNG",
        "s3://b/a.png": url,
    }
    with pytest.raises(DatasetError, match=r"none of the 1 files .* \(such as s3://b/a\.png: it is a URL; download"):
        open_table(write(tmp_path / "urls.csv", "path,label", "s3://b/a.png,2"))


def test_images_that_a_table_of_labels_does_not_name(tmp_path: Path) -> None:
    plant(tmp_path, "a.png", "b.png")
    found = open_folder(tmp_path, labels_from=write(tmp_path / "list.csv", "path,label", "b.png,x"))
    assert (found.labels, found.listed, found.subset([1]).listed) == ([None, "x"], [False, True], [True])


def test_a_table_that_cannot_be_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list.tsv")
    with pytest.raises(UsageError, match="is not a regular file; expected a CSV, TSV, JSON lines or Parquet table"):
        open_table(tmp_path / "list.tsv")
