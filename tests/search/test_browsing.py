"""Browsing an index: entries by page and condition, single entries, thumbnails, counts of values, stages."""

import io

import pytest
import torch
from PIL import Image

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.search import Index
from diml.search.stages import reporting, stage

PATHS = ["b/2.png", "a/1.png", "c/3.png", "a/0.png"]


@pytest.fixture
def index(tmp_path):
    made = Index.create(tmp_path / "i.diml")
    maps = FeatureMaps(torch.rand(4, 4, 8, generator=torch.Generator().manual_seed(0)), (2, 2))
    columns = {"designer": ["x", None, "y", "x"]}
    made.add_maps(maps, paths=PATHS, labels=["b", "a", "c", "a"], columns=columns, sizes=[(40, 50)] * 4)
    return made


def test_entries_are_ordered_by_path_and_paged(index):
    assert [entry.path for entry in index.entries()] == sorted(PATHS)
    assert [entry.path for entry in index.entries(offset=1, limit=2)] == sorted(PATHS)[1:3]
    assert [entry.path for entry in index.entries(where="designer = 'x'")] == ["a/0.png", "b/2.png"]
    assert index.entries(offset=9) == []
    assert index.count("label = 'a'") == 2


def test_an_entry_by_id_and_by_path(index):
    entry = index.entry("c/3.png")
    assert index.entry(entry.id) == entry
    assert entry.to_dict() == {
        "id": entry.id,
        "path": "c/3.png",
        "label": "c",
        "columns": {"designer": "y"},
        "size": [40, 50],
    }
    assert index.thumbnail(entry.id) == b""
    with pytest.raises(UsageError, match=r"nothing.png is not in .*; give an id"):
        index.entry("nothing.png")


def test_a_thumbnail(index, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (400, 300), "red").save(folder / "red.png")
    made = Index.create(tmp_path / "photos.diml", model_of_squares())
    made.add(folder)
    assert Image.open(io.BytesIO(made.thumbnail("red.png"))).size == (160, 120)


def test_value_counts(index):
    assert index.value_counts("label", 2) == (3, [("a", 2), ("b", 1)])
    assert index.value_counts("designer", 9) == (2, [("x", 2), ("y", 1)])
    with pytest.raises(UsageError, match="one of label, designer, got 'hash'"):
        index.value_counts("hash", 9)


def test_a_prepared_query_is_searched_as_its_image(index):
    maps = index.maps("a/0.png")
    query = index.model.query(maps)
    assert index.search(query, k=3).to_dict() == index.search(maps, k=3).to_dict()
    with pytest.raises(UsageError, match="no regions and no mask with a query"):
        index.search(query, regions=[(0, 0, 20, 20)])


@pytest.mark.parametrize(("shortlist", "stages"), [(100, ["coarse", "fetch", "match"]), ("all", ["match"])])
def test_stages_are_reported(index, shortlist, stages):
    found = {}
    with reporting(found.__setitem__):
        index.search(index.maps("a/0.png"), shortlist=shortlist)
    assert list(found) == stages
    assert all(seconds > 0 for seconds in found.values())


def test_a_stage_is_reported_where_it_fails_too():
    found = []
    with pytest.raises(ZeroDivisionError), reporting(lambda name, seconds: found.append(name)), stage("match"):
        _ = 1 / 0
    assert found == ["match"]


def test_what_is_missing_and_what_an_index_is_made_of(index, tmp_path):
    assert index.missing(["c/3.png", "nothing.png", index.entry("a/0.png").id]) == ["nothing.png"]
    assert (index.columns, index.collection, index.embeds) == (("designer",), None, False)


def model_of_squares():
    from diml.model import StructuralModel

    return StructuralModel.wrap(torch.nn.Conv2d(3, 8, 32, 32))
