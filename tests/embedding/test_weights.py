"""Weight files as people store them, and files that are not weights: each is read, or refused by one sentence."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diml.embedding import TimmBackbone, fit_names, load_weights, read_weights
from diml.errors import ModelError

ARCHITECTURE = "test_vit"


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return TimmBackbone(ARCHITECTURE)


@pytest.fixture(scope="module")
def state(network):
    return network.model.state_dict()


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def other(state):
    return {name: torch.zeros_like(value) for name, value in state.items()}


WAYS = {
    "plain": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: {"m": torch.ones(2)}}}},
    "model": lambda s: {"model": prefixed("module.model.", s), "args": None},
    "lightning": lambda s: {"state_dict": prefixed("model.", s), "hyper_parameters": {"lr": 0.1}},
    "backbone and head": lambda s: {**prefixed("backbone.", s), "head.weight": torch.ones(3, 3)},
    "momentum": lambda s: {
        "state_dict": {
            **prefixed("module.encoder_q.", s),
            **prefixed("module.encoder_k.", other(s)),
            "queue": torch.ones(2),
        }
    },
    "compiled": lambda s: prefixed("_orig_mod.", s),
    "compiled and parallel": lambda s: prefixed("module._orig_mod.", s),
    "averaged beside": lambda s: {"state_dict": other(s), "state_dict_ema": s},
    "averaged within": lambda s: {**prefixed("model.", other(s)), **prefixed("model_ema.module.", s)},
    "teacher": lambda s: {"student": other(s), "teacher": prefixed("backbone.", s)},
    "deep": lambda s: {"checkpoint": {"net": {"state_dict": s}}},
    "double precision": lambda s: {name: value.double() for name, value in s.items()},
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_store_weights_gives_the_network(way, state, tmp_path):
    torch.save(WAYS[way](state), tmp_path / "weights.pth")
    found = TimmBackbone(ARCHITECTURE)
    load_weights(found, tmp_path / "weights.pth")
    for name, value in found.model.state_dict().items():
        assert value.dtype == state[name].dtype
        assert torch.equal(value, state[name]), name


def test_half_precision_is_converted(state, tmp_path):
    torch.save({name: value.half() for name, value in state.items()}, tmp_path / "half.pt")
    found = TimmBackbone(ARCHITECTURE)
    load_weights(found, tmp_path / "half.pt")
    assert {value.dtype for value in found.model.parameters()} == {torch.float32}


def test_the_content_decides_and_not_the_ending(state, tmp_path):
    save_file(dict(state), tmp_path / "safe.pth")
    torch.save(state, tmp_path / "torch.safetensors")
    torch.save(state, tmp_path / "legacy", _use_new_zipfile_serialization=False)
    for name in ("safe.pth", "torch.safetensors", "legacy"):
        assert read_weights(tmp_path / name).keys() == state.keys()


class Code:
    ran = False

    def __reduce__(self):
        return setattr, (Code, "ran", True)


def truncated_zip(file, state):
    torch.save(state, file)
    file.write_bytes(file.read_bytes()[:-2000])


def truncated_safetensors(file, state):
    save_file(dict(state), file)
    file.write_bytes(file.read_bytes()[:-2000])


def other_zip(file, state):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "hello")


REFUSED = {
    "no such weight file": lambda file, state: None,
    "is a folder": lambda file, state: file.mkdir(),
    "is empty (0 bytes)": lambda file, state: file.write_bytes(b""),
    "is a Git LFS pointer": lambda file, state: file.write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    ),
    "is a web page": lambda file, state: file.write_text("\n<!DOCTYPE html><html><body>404</body></html>"),
    "neither a safetensors file nor a PyTorch checkpoint": lambda file, state: file.write_text("conv1.weight 0.1"),
    "truncated, its end is missing": truncated_zip,
    "is truncated or damaged": truncated_safetensors,
    "contains a pickled": lambda file, state: torch.save({"state_dict": state, "place": Path("x")}, file),
    "pickled objects other than tensors": lambda file, state: file.write_bytes(pickle.dumps({"model": Code()})),
    "would run code when loaded": lambda file, state: torch.save(torch.nn.Linear(2, 2), file),
    "expected a state dict (tensors by name), got a list": lambda file, state: torch.save([1, 2], file),
    "got a dict with the entries epoch": lambda file, state: torch.save({"epoch": 3}, file),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_is_not_weights_is_refused_in_one_sentence(said, state, tmp_path):
    file = tmp_path / "weights.pth"
    REFUSED[said](file, state)
    with pytest.raises(ModelError) as refused:
        read_weights(file)
    message = str(refused.value)
    assert said in message
    assert message.startswith(str(file))
    assert "\n" not in message
    assert "\x1b" not in message
    assert len(message) < 300 + len(str(file))
    assert not Code.ran


def test_a_zip_of_something_else_is_refused(state, tmp_path):
    other_zip(tmp_path / "weights.pth", state)
    with pytest.raises(ModelError, match="weights"):
        read_weights(tmp_path / "weights.pth")


def test_weights_of_another_architecture_are_told_with_what_was_found(state, tmp_path):
    torch.save({"conv1.weight": torch.ones(1), "fc.bias": torch.ones(1)}, tmp_path / "weights.pth")
    with pytest.raises(ModelError, match=r"tensors are missing .* the file holds conv1\.weight, fc\.bias"):
        load_weights(TimmBackbone(ARCHITECTURE), tmp_path / "weights.pth")


def test_the_prefix_with_most_names_wins_and_the_rest_is_named():
    one = torch.ones(1)
    fitted = fit_names({"a.x": one, "b.x": one, "b.y": one, "b.z": one}, ["x", "y", "w"])
    assert fitted.prefix == "b."
    assert list(fitted.tensors) == ["x", "y"]
    assert fitted.missing == ["w"]
    assert fitted.extra == ["a.x", "z"]
