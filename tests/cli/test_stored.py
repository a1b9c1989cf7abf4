"""Images on an object store, on the command line: with real images and the default model, the index of the folder."""

import json

import pytest

from diml.data.located import ByteRange
from diml.search import Index

pytestmark = pytest.mark.slow


@pytest.fixture
def stored(s3, packing, emoji):
    """The packing of the images, and the address of the folder of them."""
    packing = packing(emoji)
    return packing, s3(dict(zip((f"emoji/{name}" for name in packing.names), packing.images, strict=True))) + "/emoji"


def put(s3, url, content):
    _, _, bucket, path = url.split("/", 3)
    s3({path: content}, bucket)


def test_an_index_of_a_folder(diml, s3, stored, emoji, emoji_index, tmp_path, monkeypatch):
    packing, url = stored
    done = diml("index", url, "--into", tmp_path / "x.diml", "--labels-from", "folder")
    assert done.code == 0, done
    assert "x.diml: 48 added; 48 images in all" in done.out
    made, expected = Index.open(tmp_path / "x.diml"), Index.open(emoji_index)
    assert list(made) == list(expected)
    assert made.maps(packing.names).local.equal(expected.maps(packing.names).local)
    hashes = [each._state.require().store.scan(["id", "hash"]).sort_by("id") for each in (made, expected)]
    assert hashes[0] == hashes[1]
    assert json.loads((tmp_path / "x.diml" / "manifest.json").read_text())["collection"] == url

    # Unchanged images are known by their size, time and entity tag, and are not read.
    with monkeypatch.context() as never:
        never.setattr(ByteRange, "content", pytest.fail)
        again = diml("index", url, "--into", tmp_path / "x.diml", "--labels-from", "folder", "--prune", "--strict")
    assert "x.diml: 0 added, 48 unchanged; 48 images in all" in again.out

    put(s3, f"{url}/{packing.names[0]}", packing.images[1])
    put(s3, f"{url}/{packing.names[2]}", b"no image")
    s3.client.delete_object(Bucket=url.split("/")[2], Key=f"emoji/{packing.names[3]}")
    changed = diml("index", url, "--into", tmp_path / "x.diml", "--prune")
    assert "x.diml: 0 added, 1 changed, 1 removed, 45 unchanged, 1 skipped; 47 images in all" in changed.out
    assert f"{url}/{packing.names[2]}: is not an image in a format that is read here" in changed.err

    for query in (f"{url}/{packing.names[9]}", emoji / packing.names[9]):
        found = diml("search", tmp_path / "x.diml", query, "-k", "1", "--json")
        hit = json.loads(found.out)["hits"][0]
        assert hit["path"] == packing.names[9]
        assert json.loads(found.out)["query"] == str(query)
    kept = [name for name in packing.names if name.startswith("1f3") and name != packing.names[3]]
    many = diml("search", tmp_path / "x.diml", f"{url}/1f3*/*.png", "--jsonl", "-k", "1")
    lines = [json.loads(line) for line in many.out.splitlines()]
    assert [line["query"] for line in lines] == [f"{url}/{name}" for name in kept]


@pytest.mark.long
def test_shards_and_evaluation(diml, s3, stored, emoji, tmp_path):
    packing, url = stored
    for i in range(2):
        put(s3, f"{url}/shards/{i}.tar", packing.tar(tmp_path / "t.tar", 24 * i, 24 * i + 24).read_bytes())
    done = diml("index", f"{url}/shards/{{0..1}}.tar", "--into", tmp_path / "x.diml")
    assert "x.diml: 48 added; 48 images in all" in done.out, done
    entries = {entry.path: entry.label for entry in Index.open(tmp_path / "x.diml")}
    expected = zip(packing.names, packing.labels, strict=True)
    assert entries == {f"{i // 24}.tar/{name}": label for i, (name, label) in enumerate(expected)}
    results = [json.loads(diml("evaluate", each, "--json").out)["results"] for each in (emoji, f"{url}/shards")]
    assert results[0] == results[1]


def test_refusals(refused, stored, emoji, tmp_path):
    _, url = stored
    into = ("--into", tmp_path / "x.diml")
    refused(1, "there is no bucket no-such-bucket at http", "index", "s3://no-such-bucket/x", *into)
    refused(1, f"{url}/none: holds no images", "index", f"{url}/none", *into)
    refused(2, f"got {url} and {emoji}; add them one after the other", "index", url, emoji, *into)
    assert not (tmp_path / "x.diml").exists()
