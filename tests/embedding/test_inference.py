"""Backends: the same maps as PyTorch's own forward pass, or a warning and PyTorch."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import timm
import torch
from torch import nn

from diml.embedding import REDUCED, Encoder, Inference, Preprocessing, TimmBackbone, lite0
from diml.embedding.inference import inference, parse_backend, torch_backend
from diml.embedding.inference.torch_backend import folded
from diml.errors import UsageError
from diml.model import StructuralModel

COMPILERS = ("openvino", "onnx")


def network() -> nn.Module:
    """A small convolutional network with statistics that are not those of a new one."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 5, 3, 2), nn.BatchNorm2d(5)
    )
    for norm in (layers[1], layers[4]):
        nn.init.uniform_(norm.weight, 0.5, 2)
        nn.init.normal_(norm.bias)
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return layers.eval()


def far_apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.rand(3, 3, 40, 56, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backend", ["torch", *COMPILERS])
@pytest.mark.parametrize("number", [1, 2, 5])
def test_maps_are_those_of_pytorch_for_any_number_of_images(backend, number):
    runs, layers = Inference(backend), network()
    some = torch.rand(number, 3, 40, 56)
    assert far_apart(runs(layers, some[:1]), layers(some[:1])) < 1e-5
    assert far_apart(runs(layers, some), layers(some)) < 1e-5
    assert runs.used(layers) == backend
    assert not runs(layers, some).requires_grad


@pytest.mark.parametrize("backend", ["torch", "openvino", pytest.param("onnx", marks=pytest.mark.long)])
def test_lite0_agrees(backend):
    backbone, some = lite0().eval(), torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    runs = Inference(backend)
    assert far_apart(runs(backbone, some), backbone(some)) < 1e-4
    assert runs.used(backbone) == backend


def has_bfloat16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.skipif(not has_bfloat16(), reason="this processor does not compute in bfloat16")
@pytest.mark.parametrize("backend", REDUCED)
def test_bfloat16_is_near_and_not_the_same(backend):
    backbone, some = lite0().eval(), torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    runs = Inference(backend)
    found, right = runs(backbone, some), backbone(some)
    assert 1e-3 < ((found - right).norm() / right.norm()).item() < 0.2
    assert nn.functional.cosine_similarity(found.flatten(2), right.flatten(2)).min() > 0.9
    assert found.dtype == torch.float32
    assert runs.ran(backbone) == {backend}
    torch.testing.assert_close(runs(backbone, some), found, rtol=0, atol=0)


def test_a_processor_without_bfloat16_is_a_sentence(monkeypatch, pixels):
    monkeypatch.setattr(torch_backend, "_computes_in_bfloat16", lambda device: False)
    with pytest.raises(UsageError, match=r"cannot be used here \(this processor does not compute in bfloat16"):
        Inference("torch-bf16")(network(), pixels)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_in_bfloat16_from_pinned_memory():
    model = StructuralModel.from_pretrained("lite0").with_weights(None)
    images = [np.random.default_rng(k).integers(0, 256, (300, 200, 3), np.uint8) for k in range(5)]
    right = model.encode(images)
    model.to("cuda")
    exact, near = model.encode(images), model.with_backend("torch-bf16").encode(images)
    torch.testing.assert_close(exact.local.cpu(), right.local, rtol=0, atol=1e-2 * float(right.local.abs().max()))
    apart = ((near.local.cpu() - right.local).norm() / right.local.norm()).item()
    assert 1e-4 < apart < 0.2


def test_a_reduced_precision_is_never_replaced(monkeypatch, pixels):
    """Whoever asks for it gets it, or a sentence: other maps would be stored beside those that it made."""
    runs, layers = Inference("openvino-bf16"), network()
    with pytest.raises(UsageError, match=r"the backend openvino-bf16 runs models in float32 on the CPU only; choose"):
        runs(layers.double(), pixels.double())
    monkeypatch.setattr(inference, "_compiled", lambda backend, backbone, pixels: lambda x: 2 * layers(x))
    for _ in range(2):
        with pytest.raises(
            UsageError, match=r"openvino-bf16 cannot be used here \(its maps are 1 of their length away"
        ):
            runs(layers.float(), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["openvino", pytest.param("onnx", marks=pytest.mark.long)])
def test_a_vision_transformer_agrees(backend):
    torch.manual_seed(0)
    backbone = TimmBackbone("vit_tiny_patch16_224").eval()
    some, runs = torch.randn(3, 3, 224, 224), Inference(backend)
    assert far_apart(runs(backbone, some[:1]), backbone(some[:1])) < 1e-4
    assert far_apart(runs(backbone, some), backbone(some)) < 1e-4
    assert runs.used(backbone) == backend


@pytest.mark.parametrize("backend", ["torch", "openvino", pytest.param("onnx", marks=pytest.mark.long)])
def test_other_weights_are_noticed(backend, pixels):
    """Training, loading and replacing weights change what is computed, and so does another network."""
    runs, layers = Inference(backend), network()
    runs(layers, pixels)
    with torch.no_grad():
        layers[0].weight.mul_(2)
    assert far_apart(runs(layers, pixels), layers(pixels)) < 1e-5
    layers[1].running_mean.add_(1)
    assert far_apart(runs(layers, pixels), layers(pixels)) < 1e-5
    layers.load_state_dict({name: value * 1.5 for name, value in layers.state_dict().items()})
    assert far_apart(runs(layers, pixels), layers(pixels)) < 1e-5
    other = copy.deepcopy(layers)
    nn.init.zeros_(other[3].weight)
    assert far_apart(runs(other, pixels), other(pixels)) < 1e-5
    assert far_apart(runs(layers, pixels), layers(pixels)) < 1e-5


def test_a_pooled_vector_of_the_network_is_kept(pixels):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = network()

        def forward(self, x):
            features = self.layers(x)
            return features, features.amax(dim=(2, 3))

    own = Own().eval()
    for backend in COMPILERS:
        features, pooled = Inference(backend)(own, pixels)
        torch.testing.assert_close((features, pooled), own(pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", COMPILERS)
def test_what_cannot_be_compiled_is_run_by_pytorch_after_one_warning(backend, pixels):
    class Strange(nn.Module):
        """Depends on the values in a way that no graph holds."""

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.scale * (3.0 if float(x.detach().sum()) > 0 else float("nan")) * len(str(x.tolist())[:9])

    strange, runs = Strange().eval(), Inference(backend)
    bright = pixels * 0
    bright[:2] = pixels[:2]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        first = runs(strange, bright)
        second = runs(strange, bright)
    torch.testing.assert_close(first, strange(bright))
    torch.testing.assert_close(first, second)
    told = [str(each.message) for each in seen if "images are embedded by PyTorch" in str(each.message)]
    assert len(told) <= 1
    assert all(backend in each and "\n" not in each for each in told)


def test_maps_that_differ_are_not_used(pixels, monkeypatch):
    monkeypatch.setattr(inference, "_compiled", lambda name, backbone, few: lambda x: backbone(x) * 1.01)
    runs, layers = Inference("onnx"), network()
    with pytest.warns(RuntimeWarning, match="the backend onnx is not used, .* 0.01 of the largest number away"):
        found = runs(layers, pixels)
    torch.testing.assert_close(found, layers(pixels), rtol=0, atol=0)
    assert runs.used(layers) == "torch"


def test_many_images_are_worth_compiling(pixels):
    runs, layers = Inference(), network()
    assert far_apart(runs(layers, pixels), layers(pixels)) < 1e-5
    assert runs.used(layers) == "torch"
    for _ in range(inference.COMPILE_AFTER // len(pixels) + 1):
        found = runs(layers, pixels)
    assert runs.used(layers) in COMPILERS
    assert far_apart(found, layers(pixels)) < 1e-5


def test_training_gradients_and_half_precision_stay_with_pytorch(pixels):
    runs = Inference("onnx")
    training = network().train()
    runs(training, pixels)
    half = network().to(torch.bfloat16)
    runs(half, pixels.to(torch.bfloat16))
    assert runs.used(training) == runs.used(half) == "torch"
    encoder = Encoder(network(), Preprocessing(size=(40, 56)), grid=(2, 2), inference=runs)
    encoder(pixels).local.sum().backward()
    assert encoder.backbone[0].weight.grad.abs().sum() > 0


def test_a_copy_compiles_anew(pixels):
    encoder = Encoder(network(), Preprocessing(size=(40, 56)), grid=(2, 2), inference=Inference("onnx"))
    encoder.inference(encoder.backbone, pixels)
    for copied in (copy.deepcopy(encoder), pickle.loads(pickle.dumps(encoder))):
        assert copied.inference.backend == "onnx"
        assert copied.inference.used(copied.backbone) == "torch"
    assert encoder.replace(grid=(1, 1)).inference is encoder.inference


@pytest.mark.parametrize(
    "name", ["resnet10t", "mobilenetv3_small_050", "efficientnet_b0", "convnext_atto", "regnetx_002"]
)
def test_folding_changes_no_map(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    some = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert far_apart(folded(model).forward_features(some), model.forward_features(some)) < 1e-4


def test_names():
    with pytest.raises(
        UsageError,
        match="of auto, torch, openvino, onnx, torch-bf16, openvino-bf16, got 'tensorflow'",
    ):
        parse_backend("tensorflow")


def test_a_backend_that_is_not_installed_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr("diml.embedding.inference.names.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"the backend openvino is not installed: pip install 'diml\[openvino\]'"):
        parse_backend("openvino")
    assert parse_backend("auto") == "auto"
