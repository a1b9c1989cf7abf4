"""A model as an ONNX file: what ONNX Runtime computes from it is what the model computes."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import nn

from diml import StructuralModel
from diml.errors import ModelError, UsageError
from diml.model import export
from diml.model.export import export_onnx


def run(file, pixels):
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, {"pixels": pixels}), strict=True)), session.get_modelmeta()


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)) for _ in range(6)]


def pixels_of(model, images):
    values = torch.stack([model.encoder.preprocessing(image).values for image in images])
    return (values.float() / 255).numpy()


def small():
    """A model of few layers, with parts of several numbers each."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 16, 16), nn.SiLU(), nn.Conv2d(8, 8, 3, 2, 1))
    return StructuralModel.wrap(layers, name="own").with_weights("norm*rarity")


@pytest.mark.parametrize(
    "source", [small, pytest.param(lambda: StructuralModel.from_pretrained("lite0"), marks=pytest.mark.long)]
)
def test_head_and_rarity(source, images, tmp_path):
    model = source().eval()
    model.fit_head(images, dim=3)
    model.fit_weights(images)
    apart = export_onnx(model, tmp_path / "model.onnx")
    maps = model.encode(images[:5])
    found, about = run(tmp_path / "model.onnx", pixels_of(model, images[:5]))
    assert apart < 1e-3
    for name, right in (("local", maps.local), ("weights", maps.weights), ("pooled", maps.pooled)):
        assert np.abs(found[name] - right.numpy()).max() <= 1e-3 * right.abs().max()
    np.testing.assert_allclose(found["weights"].sum(axis=1), 1, atol=1e-5)
    assert about.custom_metadata_map["diml.fingerprint"] == model.fingerprint
    assert json.loads(about.custom_metadata_map["diml.grid"]) == [4, 4]
    assert json.loads(about.custom_metadata_map["diml.preprocessing"])["size"] == [224, 224]


def test_a_module_of_ones_own_without_weights(images, tmp_path):
    model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32), name="own").eval()
    export_onnx(model, tmp_path / "model.onnx")
    maps = model.encode(images[:3])
    found, _ = run(tmp_path / "model.onnx", pixels_of(model, images[:3]))
    np.testing.assert_allclose(found["local"], maps.local.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["weights"], 1 / 16, rtol=1e-6)
    np.testing.assert_allclose(found["pooled"], maps.pooled.numpy(), atol=1e-5)


def test_a_pooled_vector_of_the_model(images, tmp_path):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 32, 32)

        def forward(self, pixels):
            features = self.conv(pixels)
            return features, features.amax(dim=(2, 3))

    model = StructuralModel.wrap(Own()).with_weights("norm").eval()
    export_onnx(model, tmp_path / "model.onnx")
    maps = model.encode(images[:2])
    found, _ = run(tmp_path / "model.onnx", pixels_of(model, images[:2]))
    np.testing.assert_allclose(found["pooled"], maps.pooled.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["weights"], maps.weights.numpy(), atol=1e-5)


def test_a_model_that_is_being_trained_stays_as_it_is(tmp_path):
    network = nn.Sequential(nn.Conv2d(3, 8, 32, 32), nn.BatchNorm2d(8), nn.Dropout())
    model = StructuralModel.wrap(network).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert export_onnx(model, tmp_path / "model.onnx") < 1e-3
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_nothing_is_written_where_the_file_computes_something_else(tmp_path, monkeypatch):
    model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32), name="own").eval()
    monkeypatch.setattr(
        export, "_run", lambda data, pixels: [np.zeros((2, 16, 8)), np.zeros((2, 16)), np.zeros((2, 8))]
    )
    with pytest.raises(ModelError, match="own cannot be exported: its outputs in ONNX Runtime are 1 of the largest"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_weights_that_are_not_fitted_and_a_missing_extra_are_told(tmp_path, monkeypatch):
    model = StructuralModel.wrap(nn.Conv2d(3, 8, 32, 32)).with_weights("rarity")
    with pytest.raises(UsageError, match="the weights rarity are not fitted yet"):
        export_onnx(model, tmp_path / "model.onnx")
    monkeypatch.setattr(export, "is_installed", lambda name: False)
    with pytest.raises(UsageError, match=r"pip install 'diml\[onnx\]'"):
        export_onnx(model, tmp_path / "model.onnx")
