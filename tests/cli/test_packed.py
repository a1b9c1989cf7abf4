"""Packed images on the command line, with real images and the default model: the index of the folder, bit for bit."""

import pytest

from diml.search import Index

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "kind", ["tars", *(pytest.param(kind, marks=pytest.mark.long) for kind in ("parquet", "lance", "folder"))]
)
def test_an_index_of_packed_images(diml, packing, emoji, emoji_index, tmp_path, kind):
    packing = packing(emoji)
    if kind in ("tars", "folder"):
        for i in range(2):
            packing.tar(tmp_path / f"shard-{i}.tar", 24 * i, 24 * i + 24)
        given = ["shard-0.tar", "shard-1.tar"] if kind == "tars" else [""]
    else:
        given = [getattr(packing, kind)(tmp_path / f"emoji.{kind}").name]
    done = diml("index", *(tmp_path / each for each in given), "--into", tmp_path / "x.diml")
    assert done.code == 0, done
    assert f"{tmp_path}/x.diml: 48 added; 48 images in all" in done.out
    made, expected = Index.open(tmp_path / "x.diml"), Index.open(emoji_index)
    paths = {entry.path.partition("/")[2]: entry for entry in made}
    assert paths.keys() == {entry.path for entry in expected}
    for entry in expected:
        same = paths[entry.path]
        assert (same.label, same.size) == (entry.label, entry.size)
        assert made.maps([same.path]).local.equal(expected.maps([entry.path]).local)
    again = diml("index", *(tmp_path / each for each in given), "--into", tmp_path / "x.diml", "--prune", "--strict")
    assert again.code == 0
    assert "0 added, 48 unchanged; 48 images in all" in again.out
    searched = diml("search", tmp_path / "x.diml", emoji / packing.names[7], "-k", "1")
    assert searched.out.endswith(f"/{packing.names[7]}\n")


def test_a_pattern_and_what_was_left_out(diml, packing, shapes, tmp_path):
    packing = packing(shapes)
    packing.tar(tmp_path / "0.tar", 0, 4, members=[("broken.png", b"no image")])
    packing.tar(tmp_path / "1.tar", 4, 8)
    done = diml("index", tmp_path / "{0..1}.tar", "--into", tmp_path / "x.diml")
    assert done.code == 0
    assert "x.diml: 8 added, 1 skipped; 8 images in all" in done.out
    assert f"{tmp_path}/0.tar/broken.png: is not an image in a format that is read here" in done.err
    assert f"{tmp_path}/0.tar and 1 more: left out of its JSON, as they hold several values: box" in done.err


def test_queries_of_a_tar(diml, packing, shapes, shapes_index, tmp_path):
    import json

    packing = packing(shapes)
    done = diml("search", shapes_index, packing.tar(tmp_path / "queries.tar"), "--jsonl", "-k", "1")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["query"] for line in lines] == [f"{tmp_path}/queries.tar/{name}" for name in packing.names]
    assert [line["hits"][0]["path"] for line in lines] == packing.names
    one = diml("search", shapes_index, tmp_path / "queries.tar")
    assert (one.code, one.out) == (1, "")
    assert "is a tar, expected one image; add --jsonl to look for each image in it" in one.err


def test_evaluate_and_agreement(diml, packing, shapes, tmp_path):
    file = packing(shapes).parquet(tmp_path / "shapes.parquet")
    folder, packed = (diml("evaluate", each, "--json") for each in (shapes, file))
    assert packed.code == 0, packed
    import json

    first, second = json.loads(folder.out), json.loads(packed.out)
    assert first["results"] == second["results"]
    assert second["queries"] == 8
    agreed = diml("explain", shapes / "bar" / "0.png", "--against", tmp_path)
    assert agreed.code == 0, agreed


def test_refusals(refused, packing, shapes, tmp_path):
    file = packing(shapes).tar(tmp_path / "t.tar")
    into = ("--into", tmp_path / "x.diml")
    refused(2, "there is no such file; check the path", "index", tmp_path / "no-{0..3}.tar", *into)
    refused(2, "add them one after the other", "index", file, shapes / "bar" / "0.png", *into)
    refused(2, "which has its own labels; leave it out", "index", file, "--labels-from", "folder", *into)
    refused(2, "--recode copies one index, got 2", "index", file, file, "--recode", "int8", *into)
    file.rename(tmp_path / "t.tar.gz").write_bytes(b"\x1f\x8b..")
    refused(1, "unpack the compression with gunzip, which leaves a tar", "index", tmp_path / "t.tar.gz", *into)
    assert not (tmp_path / "x.diml").exists()
