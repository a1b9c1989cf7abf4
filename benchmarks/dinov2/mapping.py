"""The tensors of a DINOv2 in an ONNX file, under the names that timm gives them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.errors import BuildError

BLOCKS, WIDTH, PATCHES = 12, 384, 37 * 37
_LAYER = "backbone.encoder.layer."
# Of a block: the name in the file, and timm's. Queries, keys and values are one matrix in timm.
_NAMES = {
    "norm1": "norm1",
    "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma",
    "norm2": "norm2",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
    "layer_scale2.lambda1": "ls2.gamma",
}
_ATTENTION = ("query", "key", "value")


def timm_tensors(model: Any) -> dict[str, Tensor]:
    """The weights of `vit_small_patch14_dinov2`, from an ONNX model of Hugging Face's Dinov2 with a decoder behind it.

    Biases and norms keep their names in the export. A matrix has lost its name, but the node that multiplies by it
    has kept the name of its layer; it is stored transposed.

    Raises:
        BuildError: a tensor is missing, or has another shape.
    """
    from onnx import numpy_helper

    stored = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    named = dict(stored)
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in stored:
            layer = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            named[f"{layer}.weight"] = stored[node.input[1]].T
    positions = [stored[name] for name in _positions(model, stored)]

    def get(name: str, *shape: int) -> Tensor:
        if name not in named or named[name].shape != shape:
            got = f"of shape {named[name].shape}" if name in named else "missing"
            raise BuildError(f"expected the tensor {name} of shape {shape} in the ONNX file, got it {got}")
        return torch.from_numpy(np.array(named[name], dtype=np.float32, order="C"))

    tensors = {
        "cls_token": get("backbone.embeddings.cls_token", 1, 1, WIDTH),
        "pos_embed": torch.from_numpy(np.concatenate(positions, axis=1).astype(np.float32)),
        "patch_embed.proj.weight": get("backbone.embeddings.patch_embeddings.projection.weight", WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": get("backbone.embeddings.patch_embeddings.projection.bias", WIDTH),
        "norm.weight": get("backbone.layernorm.weight", WIDTH),
        "norm.bias": get("backbone.layernorm.bias", WIDTH),
    }
    hidden = {"mlp.fc1": (4 * WIDTH, WIDTH), "mlp.fc2": (WIDTH, 4 * WIDTH), "attn.proj": (WIDTH, WIDTH)}
    for block in range(BLOCKS):
        source, target = f"{_LAYER}{block}.", f"blocks.{block}."
        for theirs, ours in _NAMES.items():
            if ours.endswith("gamma"):
                tensors[target + ours] = get(source + theirs, WIDTH)
                continue
            weight = hidden.get(ours, (WIDTH,))
            tensors[f"{target}{ours}.weight"] = get(f"{source}{theirs}.weight", *weight)
            tensors[f"{target}{ours}.bias"] = get(f"{source}{theirs}.bias", weight[0])
        attention = [f"{source}attention.attention.{name}" for name in _ATTENTION]
        tensors[f"{target}attn.qkv.weight"] = torch.cat([get(f"{name}.weight", WIDTH, WIDTH) for name in attention])
        tensors[f"{target}attn.qkv.bias"] = torch.cat([get(f"{name}.bias", WIDTH) for name in attention])
    return tensors


def _positions(model: Any, stored: dict[str, Any]) -> tuple[str, str]:
    """The names of the position embeddings of the class token and of the patches, which the export has split."""
    wanted = {"class": (1, 1, WIDTH), "patches": (1, PATCHES, WIDTH)}
    used = {name for node in model.graph.node if re.match("/backbone/embeddings/", node.name) for name in node.input}
    found = {}
    for role, shape in wanted.items():
        fitting = [name for name in used if name in stored and stored[name].shape == shape and "cls" not in name]
        if len(fitting) != 1:
            raise BuildError(f"expected one position embedding of the {role} in the ONNX file, got {len(fitting)}")
        found[role] = fitting[0]
    return found["class"], found["patches"]
