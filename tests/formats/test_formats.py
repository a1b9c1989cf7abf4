"""What earlier versions wrote opens, gives the numbers that it gave, and can be added to."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from diml.model import StructuralModel, config
from diml.search import Index, manifest

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "sample" / "emoji"
CAT, DOG = SAMPLE / "1f408-cat" / "noto.png", SAMPLE / "1f415-dog" / "noto.png"
VERSIONS = [folder.name for folder in sorted(HERE.iterdir()) if (folder / "expected.json").is_file()]
ASKED = {
    "whole": {},
    "pooled": {"shortlist": 0},
    "all": {"shortlist": "all"},
    "part": {"regions": [((20, 20, 100, 80), 1.0)], "shortlist": "all"},
}
NUMBERS = ("similarity", "structural", "pooled", "concentration")


def backbone():
    """The module that the models were wrapped around; its weights are in the files."""
    return nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU())


@pytest.fixture(params=VERSIONS)
def written(request, tmp_path):
    """A copy of what a version wrote, and what it computed then."""
    folder = tmp_path / request.param
    shutil.copytree(HERE / request.param, folder)
    return folder, json.loads((folder / "expected.json").read_text())


def assert_searches(index, expected):
    for name, options in ASKED.items():
        hits = index.search(CAT, k=5, **options).hits
        assert [hit.id for hit in hits] == [hit["id"] for hit in expected[name]["hits"]], name
        for hit, before in zip(hits, expected[name]["hits"], strict=True):
            assert (hit.path, hit.label, hit.pooled_rank) == (before["path"], before["label"], before["pooled_rank"])
            for number in NUMBERS:
                assert getattr(hit, number) == pytest.approx(before[number], abs=1e-6), (name, number)


def test_an_index_gives_the_hits_that_it_gave(written):
    folder, expected = written
    index = Index.open(folder / "index.diml", backbone=backbone())
    assert len(index) == 12
    assert_searches(index, expected)


def test_an_index_keeps_its_numbers_when_it_is_added_to(written, tmp_path):
    folder, expected = written
    for name in ("1f408-cat", "1f415-dog", "1f419-octopus"):
        shutil.copytree(SAMPLE / name, tmp_path / "images" / name)
    index = Index.open(folder / "index.diml", backbone=backbone())
    # Files copied anew have another time, but the same content: nothing is embedded again.
    report = index.add(tmp_path / "images", labels_from="folder")
    assert (report.added, report.changed, len(index)) == (0, 0, 12)
    shutil.copytree(SAMPLE / "1f345-tomato", tmp_path / "images" / "1f345-tomato")
    assert index.add(tmp_path / "images", labels_from="folder").added == 4
    again = Index.open(folder / "index.diml", backbone=backbone())
    assert len(again) == 16
    kept = {hit.id: hit for hit in again.search(CAT, k=16, shortlist="all")}
    for before in expected["all"]["hits"]:
        for number in NUMBERS:
            assert getattr(kept[before["id"]], number) == pytest.approx(before[number], abs=1e-6)


def test_a_model_makes_the_maps_that_it_made(written):
    folder, expected = written
    assert_model(StructuralModel.from_pretrained(folder / "model", backbone=backbone()), expected)


def test_a_model_of_an_inner_block_makes_the_maps_that_it_made():
    model = StructuralModel.from_pretrained(HERE / "v5" / "model")
    assert_model(model, json.loads((HERE / "v5" / "model.json").read_text()))


def test_every_format_has_files():
    configs = [json.loads(file.read_text()) for file in HERE.glob("v*/model/config.json")]
    assert {each["version"] for each in configs} == set(range(1, config.VERSION + 1))
    manifests = [json.loads(file.read_text()) for file in HERE.glob("v*/index.diml/manifest.json")]
    assert {each["version"] for each in manifests} == set(range(1, manifest.VERSION + 1))


def assert_model(model, expected):
    assert model.fingerprint == expected["fingerprint"]
    maps = model.encode([CAT, DOG])
    torch.testing.assert_close(maps.local, torch.tensor(expected["maps"]), atol=1e-6, rtol=1e-5)
    match = model.explain(maps[0], maps[1])
    for number in ("similarity", "structural", "pooled"):
        assert float(getattr(match, number)) == pytest.approx(expected["explain"][number], abs=1e-6)
    contributions = torch.tensor(expected["explain"]["contributions"], dtype=torch.float64)
    torch.testing.assert_close(match.contributions[0], contributions, atol=1e-6, rtol=0)
