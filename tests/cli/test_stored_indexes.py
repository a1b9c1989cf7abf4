"""Indices on an object store, on the command line: each command gives what it gives of an index on this machine."""

import json
import shutil

import pytest

from diml.search import Index


@pytest.fixture(scope="module")
def pair(emoji, tmp_path_factory):
    """A folder of 24 images, and an index of it on this machine."""
    from diml.search import index_folder

    folder = tmp_path_factory.mktemp("stored")
    for each in sorted(emoji.iterdir())[:6]:
        shutil.copytree(each, folder / "photos" / each.name)
    index_folder(folder / "photos", folder / "x.diml", labels_from="folder")
    return folder / "photos", folder / "x.diml"


def done(result):
    assert result.code == 0, result
    return result.out


@pytest.mark.long
def test_commands(diml, refused, pair, s3, tmp_path):
    photos, here = pair
    there = s3({}) + "/x.diml"
    image = next(photos.rglob("*.png"))
    said = done(diml("index", photos, "--into", there, "--labels-from", "folder"))
    assert said.startswith(f"{there}: 24 added; 24 images in all")
    assert "24 unchanged; 24 images in all" in done(diml("index", photos, "--into", there))

    info = [json.loads(done(diml("info", each, "--json"))) for each in (there, here)]
    assert info[0]["path"] == there
    same = info[1].keys() - {"path", "bytes"}
    assert {name: info[0][name] for name in same} == {name: info[1][name] for name in same}
    assert done(diml("info", there)).splitlines()[0].split() == ["path", there]

    for command in (("search", image, "-k", 3), ("search", photos, "--jsonl")):
        name, *rest = command
        found = [done(diml(name, each, *rest, *([] if "--jsonl" in rest else ["--json"]))) for each in (there, here)]
        assert found[0] == found[1].replace(json.dumps(str(here)), json.dumps(there))
    assert str(image.relative_to(photos)) in done(diml("search", there, image, "-k", 1))
    found = [json.loads(done(diml("pairs", each, "--above", 0.5, "--json"))) for each in (there, here)]
    assert found[0].pop("index") == there
    found[1].pop("index")
    assert found[0] == found[1]
    explained = [done(diml("explain", image, image, "-m", each, "--json")) for each in (there, here)]
    assert json.loads(explained[0]) == json.loads(explained[1])

    small = there.replace("x.diml", "small.diml")
    assert done(diml("index", there, "--into", small, "--recode", "int8")).startswith(f"{small}: 24 images")
    assert Index.open(small).stats().codes == "int8"
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos" / image.relative_to(photos)).unlink()
    assert "1 removed" in done(diml("index", tmp_path / "photos", "--into", there, "--prune"))

    refused(1, f"{there}/none does not exist; make an index", "search", f"{there}/none", image)
    refused(1, "there is no bucket none-here", "info", "s3://none-here/x.diml")
    refused(2, "expected an address below the bucket", "info", "s3://none-here")
    refused(2, "got the URL https://a.org/x.diml; give a local path", "info", "https://a.org/x.diml")


def test_shards(diml, pair, s3, tmp_path):
    photos, here = pair
    place = s3({}) + "/b.diml"
    model = Index.open(here).model
    paths = Index.open(here).paths
    shutil.copytree(here, tmp_path / "a.diml")
    Index.open(tmp_path / "a.diml").remove(paths[::2])
    there = Index.create(place, model)
    there.add(photos, labels_from="folder")
    there.remove(paths[1::2])
    image = next(photos.rglob("*.png"))
    both = json.loads(done(diml("search", tmp_path / "a.diml", place, image, "-k", 5, "--json")))
    alone = json.loads(done(diml("search", here, image, "-k", 5, "--json")))
    assert both["index"] == f"{tmp_path / 'a.diml'}, {place}"
    # Embedded in other batches.
    similarities = [[hit["similarity"] for hit in each["hits"]] for each in (both, alone)]
    assert similarities[0] == pytest.approx(similarities[1], abs=1e-6)
