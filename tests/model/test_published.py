"""Published checkpoints: the outputs of torchvision's own forward pass, no pickled code, every name accounted for."""

import pickle

import pytest
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torchvision.transforms import v2

from diml.errors import ModelError
from diml.model import StructuralModel
from diml.model.published import import_checkpoint

DIM = 16


@pytest.fixture(scope="module")
def network():
    """torchvision's ResNet-50, nothing in it as it begins."""
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None).eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_mean", "bias")):
                value.uniform_(-0.1, 0.1)
            elif name.endswith("running_var") or "bn" in name:
                value.copy_(torch.rand(value.shape) / 2 + 0.75 if value.is_floating_point() else value)
    return network


@pytest.fixture(scope="module")
def linear():
    torch.manual_seed(1)
    return torch.nn.Linear(2048, DIM)


@pytest.fixture(scope="module")
def state(network, linear):
    """The state as `{"model": ...}` has it: names below `model.`, and the layers once more."""
    backbone = {name: value for name, value in network.state_dict().items() if not name.startswith("fc.")}
    blocks = {
        f"layer_blocks.{int(name[5]) - 1}{name[6:]}": v for name, v in backbone.items() if name.startswith("layer")
    }
    head = {"last_linear.weight": linear.weight.detach(), "last_linear.bias": linear.bias.detach()}
    return {f"model.{name}": value for name, value in {**backbone, **blocks, **head}.items()}


def features(network, pixels):
    x = network.maxpool(network.relu(network.bn1(network.conv1(pixels))))
    return network.layer4(network.layer3(network.layer2(network.layer1(x))))


def expected(network, linear, pixels):
    """Parts and pooled vectors: a 1x1 projection of the last layer, at 4x4 and of its mean."""
    weight, bias = linear.weight[:, :, None, None], linear.bias
    last = features(network, pixels)
    resized = F.adaptive_avg_pool2d(F.interpolate(last, size=(16, 16), mode="bilinear", align_corners=False), 4)
    return F.conv2d(resized, weight, bias).flatten(2).mT, linear(last.mean((2, 3)))


def assert_near(ours, theirs):
    """Equal to 1e-5 of the largest number: another memory layout sums in another order."""
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def saved(tmp_path, held):
    file = tmp_path / "checkpoint.pth"
    torch.save(held, file)
    return file


FORMATS = {
    "model": lambda state: {"model": state, "epoch": 3, "progress": {"loss": [1.0, 0.5]}},
    "state_dict": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}, "epoch": 1},
    "convolution": lambda state: {
        "state_dict": {
            name.removeprefix("model."): value[:, :, None, None] if "last_linear.weight" in name else value
            for name, value in state.items()
            if "layer_blocks" not in name and "num_batches_tracked" not in name
        }
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
@torch.no_grad()
def test_outputs_are_those_of_the_network_it_was_saved_from(tmp_path, network, linear, state, name):
    imported = import_checkpoint(saved(tmp_path, FORMATS[name](state)))
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(2))
    parts, pooled = expected(network, linear, pixels)
    maps = imported.model.encoder(pixels)
    assert parts.std() > 1e-2
    assert_near(maps.local, parts)
    assert_near(maps.pooled, pooled)
    assert {left.partition(".")[0] for left in imported.left_out} <= {"layer_blocks"}


@pytest.mark.slow
@torch.no_grad()
def test_an_image_is_prepared_as_the_field_does_and_the_model_can_be_saved(tmp_path, network, linear, state):
    model = import_checkpoint(saved(tmp_path, {"model": state})).model
    assert (model.matcher.marginals, model.matcher.weight, model.matcher.eps) == ("cross_correlation", 0.5, 0.05)
    assert (model.grid, model.dim, model.name) == ((4, 4), DIM, "checkpoint")
    noise = torch.randint(0, 255, (9, 12, 3), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    image = Image.fromarray(noise.numpy()).resize((400, 300), Image.Resampling.BICUBIC)
    prepare = v2.Compose(
        [
            v2.Resize(256),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    parts, _ = expected(network, linear, prepare(image)[None])
    assert_near(model.encode(image).local, parts)
    model.save_pretrained(tmp_path / "model")
    again = StructuralModel.from_pretrained(tmp_path / "model")
    assert again.fingerprint == model.fingerprint
    assert again.config() == model.config()


@pytest.mark.slow
def test_the_classifier_of_imagenet_is_left_out_and_named(tmp_path, network, state):
    classifier = {f"model.{name}": value for name, value in network.state_dict().items() if name.startswith("fc.")}
    imported = import_checkpoint(saved(tmp_path, {"model": {**state, **classifier}}))
    assert {"fc.weight", "fc.bias"} <= set(imported.left_out)


class Code:
    """Would say so if it was run."""

    ran = False

    def __reduce__(self):
        return setattr, (Code, "ran", True)


def refusal(file):
    with pytest.raises(ModelError) as refused:
        import_checkpoint(file)
    assert "\n" not in str(refused.value)
    assert str(file) in str(refused.value)
    return str(refused.value)


def test_pickled_code_is_not_run_and_the_way_to_convert_it_is_said(tmp_path, state):
    file = tmp_path / "checkpoint.pth"
    torch.save({"model": state, "options": Code()}, file)
    assert "load it with weights_only=False and save its state dict alone" in refusal(file)
    assert not Code.ran
    file.write_bytes(pickle.dumps({"model": Code()}))
    refusal(file)
    assert not Code.ran


def without(state, *names):
    return {name: value for name, value in state.items() if name.removeprefix("model.") not in names}


REFUSED = {
    "missing: conv1.weight": lambda state: {"model": without(state, "conv1.weight")},
    "missing: layer4.2.bn3.running_var": lambda state: {
        "model": without(state, "layer4.2.bn3.running_var", "layer_blocks.3.2.bn3.running_var")
    },
    "unknown: attention.weight": lambda state: {"model": state | {"model.attention.weight": torch.zeros(2)}},
    "of another shape: conv1.weight": lambda state: {"model": state | {"model.conv1.weight": torch.zeros(64, 3, 3, 3)}},
    "expected an embedding last_linear.weight": lambda state: {
        "model": without(state, "last_linear.weight", "last_linear.bias")
    },
    "expected last_linear of shapes (d, 2048) and (d,), got (16, 512) and (16,)": lambda state: {
        "model": state | {"model.last_linear.weight": torch.zeros(16, 512)}
    },
    "(d, c, 1, 1), got (16, 2048, 3, 3)": lambda state: {
        "model": state | {"model.last_linear.weight": torch.zeros(16, 2048, 3, 3)}
    },
    "layer_blocks.0.0.conv1.weight does not equal layer1.0.conv1.weight": lambda state: {
        "model": state | {"model.layer_blocks.0.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    },
    "each name once": lambda state: {"model": state | {"conv1.weight": state["model.conv1.weight"]}},
    "got a dict with the entries epoch": lambda state: {"epoch": 3},
    "conv1.weight is not a dense tensor": lambda state: {
        "model": {"conv1.weight": torch.zeros(64, 3, 7, 7, device="meta")}
    },
    "bn1.weight is not a dense tensor": lambda state: {"model": {"bn1.weight": torch.eye(64).to_sparse()}},
    "bn1.bias is not a dense tensor": lambda state: {"model": {"bn1.bias": torch.zeros(64) * 1j}},
    "last_linear.weight has a shape larger than its data": lambda state: {
        "model": {"last_linear.weight": torch.zeros(1).expand(2**40, 2048)}
    },
    "contains NaN or infinity": lambda state: {"model": state | {"model.bn1.bias": torch.full((64,), torch.nan)}},
    "(d,), got (0, 2048)": lambda state: {
        "model": without(state, "last_linear.weight", "last_linear.bias") | {"last_linear.weight": torch.zeros(0, 2048)}
    },
    "layer_blocks.².x does not equal a layer": lambda state: {"model": state | {"layer_blocks.².x": torch.zeros(1)}},
    r"unknown: \x1b[31mred\n": lambda state: {"model": state | {"\x1b[31mred\n": torch.zeros(1)}},
    "got a list": lambda state: [1, 2],
    "got an empty dict": lambda state: {},
}


@pytest.mark.slow
@pytest.mark.parametrize("said", REFUSED)
def test_what_is_no_such_checkpoint_is_refused_and_said_why(tmp_path, state, said):
    assert said in refusal(saved(tmp_path, REFUSED[said](state)))


def test_a_file_that_is_missing_or_no_checkpoint_is_refused(tmp_path):
    assert "no such weight file" in refusal(tmp_path / "missing.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    assert "neither a safetensors file nor a PyTorch checkpoint" in refusal(tmp_path / "text.pth")
