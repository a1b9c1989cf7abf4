"""`diml search --jsonl`: a line of JSON for each image of a folder or a table."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

KEYS = ["index", "query", "query_size", "where", "k", "shortlist", "hits"]


def lines(done):
    return [json.loads(line) for line in done.out.splitlines()]


def assert_same(line, document):
    """But for the rounding of a model that embeds images together."""
    assert list(line) == list(document) == KEYS
    assert {**line, "hits": None} == {**document, "hits": None}
    for hit, other in zip(line["hits"], document["hits"], strict=True):
        for name, value in other.items():
            assert hit[name] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), name


@pytest.fixture
def queries(shapes, tmp_path):
    """A folder with images of the index, and one that ends too early."""
    shutil.copytree(shapes, tmp_path / "queries")
    whole = (tmp_path / "queries" / "bar" / "0.png").read_bytes()
    (tmp_path / "queries" / "broken.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path / "queries"


def test_the_lines_of_a_folder_are_the_documents_of_its_images(diml, shapes, shapes_index):
    options = ("-k", 3, "--where", "label = 'disc'", "--weight", 0.5)
    done = diml("search", shapes_index, shapes, "--jsonl", *options)
    assert (done.code, done.err) == (0, "")
    found = lines(done)
    paths = [shapes / name / f"{i}.png" for name in ("bar", "disc") for i in range(4)]
    assert [line["query"] for line in found] == [str(path) for path in paths]
    for path, line in list(zip(paths, found, strict=True))[::3]:
        document = json.loads(diml("search", shapes_index, path, "--json", *options).out)
        assert line.pop("weight") == document.pop("weight") == 0.5
        assert_same(line, document)


def test_a_single_image_and_a_table(diml, shapes, shapes_index, tmp_path):
    image = shapes / "disc" / "1.png"
    document = json.loads(diml("search", shapes_index, image, "--json").out)
    assert lines(diml("search", shapes_index, image, "--jsonl")) == [document]
    shutil.copy(image, tmp_path / "query.png")
    (tmp_path / "some.csv").write_text("path,colour\nquery.png,red\nnone.png,blue\n")
    done = diml("search", shapes_index, tmp_path / "some.csv", "--jsonl")
    assert done.code == 0
    [line] = lines(done)
    assert line["query"] == str(tmp_path / "query.png")
    assert_same(line, {**document, "query": line["query"]})
    assert "1 skipped:" in done.err
    assert "none.png" in done.err


def test_an_image_that_cannot_be_read_has_a_line_of_its_own(diml, shapes_index, queries):
    done = diml("search", shapes_index, queries, "--jsonl", "-k", 1)
    assert done.code == 0
    found = lines(done)
    assert [Path(line["query"]).name for line in found] == ["0.png", "1.png", "2.png", "3.png", "broken.png"] + [
        f"{i}.png" for i in range(4)
    ]
    assert list(found[4]) == ["query", "error"]
    assert found[4]["error"].startswith(f"{queries / 'broken.png'}: is truncated")
    assert [list(line) for line in found[:4] + found[5:]] == [KEYS] * 8
    assert done.err.splitlines() == ["1 skipped:", f"  {found[4]['error']}"]


def test_it_fails_where_no_image_can_be_read(diml, shapes_index, queries):
    shutil.rmtree(queries / "bar")
    shutil.rmtree(queries / "disc")
    done = diml("search", shapes_index, queries, "--jsonl")
    assert done.code == 1
    assert [list(line) for line in lines(done)] == [["query", "error"]]
    assert "1 skipped:" in done.err


def test_what_is_refused(refused, shapes, shapes_index, tmp_path):
    image = shapes / "disc" / "1.png"
    said = "cannot be combined with --jsonl, which prints a line of JSON for each image; leave it out"
    for option in (["--json"], ["--out", tmp_path / "x.html"], ["--region", "0,0,9,9"], ["--mask", image]):
        refused(2, f"{option[0]} {said}", "search", shapes_index, image, "--jsonl", *option)
    refused(1, f"{shapes}: is a folder, expected one image; add --jsonl", "search", shapes_index, shapes)
    (tmp_path / "some.csv").write_text("path\na.png\n")
    refused(
        1,
        "some.csv: is a table, expected one image; add --jsonl",
        "search",
        shapes_index,
        tmp_path / "some.csv",
        "--json",
    )
    refused(2, "cannot be used", "search", shapes_index, shapes, "--jsonl", "--where", "colour = 'x'")
    (tmp_path / "empty").mkdir()
    refused(1, "holds no images", "search", shapes_index, tmp_path / "empty", "--jsonl")


@pytest.mark.long
def test_a_reader_that_leaves(shapes_index, shapes):
    command = f"{sys.executable} -c 'from diml.cli import main; main()' search {shapes_index} {shapes} --jsonl -k 8"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | head -n 1"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert json.loads(ran.stdout)["query"] == str(shapes / "bar" / "0.png")
