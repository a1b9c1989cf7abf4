"""Several indices on the command line, read as one."""

import json
import shutil

import pytest

from diml.search import Index


@pytest.fixture(scope="module")
def parts(emoji_index, tmp_path_factory):
    """Two halves of the index."""
    folder = tmp_path_factory.mktemp("parts")
    paths = Index.open(emoji_index).paths
    made = []
    for part in range(2):
        path = folder / f"part-{part}.diml"
        shutil.copytree(emoji_index, path)
        Index.open(path).remove(paths[part::2])
        made.append(path)
    return made


@pytest.fixture
def image(emoji):
    return next(emoji.glob("*/noto.png"))


def done(result):
    assert result.code == 0, result
    return result.out


def without_shards(document):
    for hit in document["hits"]:
        assert hit.pop("shard") in ("part-0", "part-1")
    return {**document, "index": ""}


def test_search(diml, parts, emoji_index, image):
    found = json.loads(done(diml("search", *parts, image, "-k", 7, "--json")))
    assert found["index"] == f"{parts[0]}, {parts[1]}"
    expected = json.loads(done(diml("search", emoji_index, image, "-k", 7, "--json")))
    assert without_shards(found) == {**expected, "index": ""}
    lines = done(diml("search", *parts, image, "-k", 2)).splitlines()
    assert lines[0].endswith("label  path  index")
    assert all(line.endswith(("  part-0", "  part-1")) for line in lines[1:])
    assert not done(diml("search", emoji_index, image, "-k", 2)).splitlines()[0].endswith("index")


def test_many_images(diml, parts, emoji_index, image):
    asked = (image.parent, "-k", 3, "--jsonl")
    found = [json.loads(line) for line in done(diml("search", *parts, *asked)).splitlines()]
    expected = [json.loads(line) for line in done(diml("search", emoji_index, *asked)).splitlines()]
    assert [without_shards(each) for each in found] == [{**each, "index": ""} for each in expected]


def test_info(diml, parts, emoji_index):
    found, expected = (json.loads(done(diml("info", *each, "--json"))) for each in (parts, [emoji_index]))
    assert found["shards"] == {"part-0": 24, "part-1": 24}
    assert (found["images"], found["labels"], found["fingerprint"]) == (48, 12, expected["fingerprint"])
    assert "shards" not in expected
    assert "\nshards       part-0 24, part-1 24\n" in done(diml("info", *parts))


def test_pairs(diml, parts, emoji_index, tmp_path):
    out = tmp_path / "groups.html"
    found = json.loads(done(diml("pairs", *parts, "--above", 0.6, "--json", "--out", out)))
    expected = json.loads(done(diml("pairs", emoji_index, "--above", 0.6, "--json")))
    assert found["pairs"]
    assert {**found, "index": ""} == {**expected, "index": ""}
    assert "part-0.diml, part-1.diml" in out.read_text()


def test_refusals(refused, parts, image, emoji_index):
    refused(2, "expected an index and then an image to look for, got", "search", image)
    refused(2, "none.diml: no such index; check the path", "search", parts[0], "none.diml", image)
    refused(2, f"{parts[0]} is listed twice; name each index once", "info", parts[0], parts[0])
    refused(1, "an image is known by its path, so remove it from one of them", "info", parts[0], emoji_index)
