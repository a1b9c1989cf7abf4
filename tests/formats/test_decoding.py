"""An index keeps the decoding of image files that it was made with."""

import json
import shutil
from pathlib import Path

import pytest
from torch import nn
from typer.testing import CliRunner

from diml.cli.app import app
from diml.embedding import Preprocessing
from diml.errors import StoreError, UsageError
from diml.model import StructuralModel
from diml.search import Index, index_folder

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "sample" / "emoji"


@pytest.fixture
def old(tmp_path):
    """A copy of the index that version 0.1.0 wrote, which decodes as version 1."""
    shutil.copytree(HERE / "v1" / "index.diml", tmp_path / "old.diml")
    return tmp_path / "old.diml"


def old_model(index):
    """The model that the index was made with, as a new version makes it: with decoding 3."""
    backbone = nn.Sequential(nn.Conv2d(3, 6, 16, 16), nn.ReLU())
    return StructuralModel.from_pretrained(index, backbone=backbone).with_decoding(3)


def test_new_models_have_decoding_3_and_say_so(tmp_path):
    model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32))
    model.save_pretrained(tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    stored = config["preprocessing"]
    assert (config["version"], stored["decoding"], "bit_depth" in stored) == (5, 3, False)
    again = StructuralModel.from_pretrained(tmp_path / "model", backbone=nn.Conv2d(3, 8, 32, 32))
    assert again.fingerprint == model.fingerprint
    assert StructuralModel.from_pretrained("lite0").encoder.preprocessing.decoding == 3


def test_the_decoding_is_part_of_the_fingerprint():
    model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32))
    others = model.with_decoding(1), model.with_decoding(2), model.with_decoding(2, 12), model.with_decoding(3, 12)
    assert len({m.fingerprint for m in (model, *others)}) == 5
    assert model.with_decoding(1).with_decoding(3).fingerprint == model.fingerprint


def test_an_old_index_accepts_its_model_in_a_new_version_and_keeps_its_decoding(old):
    model = old_model(old)
    index = Index.open(old, model=model)
    assert index.model.encoder.preprocessing.decoding == 1
    assert index.stats().decoding == 1
    added, report = index_folder(SAMPLE / "1f345-tomato", old, model=model)
    assert report.added == 4
    assert added.model.encoder.preprocessing.decoding == 1
    assert json.loads((old / "model" / "config.json").read_text())["preprocessing"].get("decoding") is None


def test_a_bit_depth_is_recorded_and_kept(tmp_path):
    bare = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32))
    folder = SAMPLE / "1f345-tomato"
    index, _ = index_folder(folder, tmp_path / "deep.diml", model=bare.with_decoding(bit_depth=12), dim=0)
    assert (index.stats().decoding, index.stats().bit_depth) == (3, 12)
    assert Index.open(tmp_path / "deep.diml", model=bare).model.encoder.preprocessing.bit_depth == 12
    with pytest.raises(StoreError, match=r"was made with the bit depth 12, got 10; leave it out, or make another"):
        Index.open(tmp_path / "deep.diml", model=bare.with_decoding(bit_depth=10))


def test_a_bit_depth_for_a_folder(tmp_path):
    bare, folder, into = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32)), SAMPLE / "1f345-tomato", tmp_path / "deep.diml"
    index, _ = index_folder(folder, into, model=bare, dim=0, bit_depth=12)
    assert index.stats().bit_depth == 12
    assert index_folder(folder, into, model=bare, bit_depth=12)[1].unchanged == 4
    with pytest.raises(StoreError, match=r"was made with the bit depth 12, got 10"):
        index_folder(folder, into, bit_depth=10)


def test_an_old_index_refuses_a_bit_depth(old):
    with pytest.raises(StoreError, match=r"was made without a bit depth, got 12; leave it out, or make another index"):
        Index.open(old, model=old_model(old).with_decoding(2, 12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoding": 4}, "expected decoding to be 1, 2 or 3, got 4"),
        ({"bit_depth": 17}, "expected bit_depth to be a whole number from 1 to 16, got 17"),
        ({"bit_depth": 12, "decoding": 1}, "expected decoding 2 or 3 for a bit_depth, got decoding 1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(UsageError, match=message):
        Preprocessing(**settings)


def test_info_says_how_to_renew(old):
    shown = CliRunner().invoke(app, ["info", str(old)])
    assert "decoding     1, that of diml 0.1.0; make a new index to use decoding 3" in shown.output
