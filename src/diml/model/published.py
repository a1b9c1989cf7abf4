"""Published metric-learning checkpoints of ResNet-50: read without running code in them, and converted to a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diml.data import printable
from diml.embedding import Encoder, Preprocessing, TimmBackbone, fit_names, read_weights
from diml.errors import ModelError
from diml.files import AnyPath, user_path
from diml.matching import Matcher
from diml.model.structural import StructuralModel

ARCHITECTURE, CHANNELS = "resnet50", 2048
HEAD = "last_linear"
# Copies of the layers under other names, and the ImageNet classifier, which is not used.
REPEATED, CLASSIFIER, LAYERS = "layer_blocks.", "fc.", ("0", "1", "2", "3")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)

# The field's preprocessing (resized to 256, cropped to 224) and the paper's matching.
PIXELS = Preprocessing(size=(224, 224), interpolation="bilinear", fit="crop", crop=224 / 256)
RESAMPLING, GRID = "bilinear16", (4, 4)
MATCHER = Matcher("cross_correlation", weight=0.5, eps=0.05)


@dataclass(frozen=True)
class Imported:
    """A model, and the tensors of its checkpoint that were not used.

    Attributes:
        model: computes the same outputs as the checkpoint.
        left_out: names of tensors in the checkpoint that these outputs do not depend on.
    """

    model: StructuralModel
    left_out: list[str]


def import_checkpoint(file: AnyPath) -> Imported:
    """Make a model from a checkpoint of ResNet-50 with a linear embedding.

    The state dict may be an entry of the checkpoint, such as `model` (see `diml.embedding.read_weights`). It uses the
    names of torchvision's ResNet-50, such as `layer1.0.conv1.weight`, and holds the embedding as `last_linear`, which
    is a linear layer or a 1x1 convolution. A common prefix such as `module.model.` may stand before the names;
    `layer_blocks.0` to `layer_blocks.3` may repeat the four layers.

    Images are prepared and compared as in the paper: ImageNet's statistics, resized to 256, cropped to 224, resampled
    by `bilinear16` to 4x4, cross-correlation marginals.

    Raises:
        ModelError: the file is missing, cannot be read without running code in it, or is not such a checkpoint. Tensors
            that are missing, unknown or of another shape are named.
    """
    file = user_path(file)
    state = _read(file)
    left_out = [name for name in state if name.startswith((REPEATED, CLASSIFIER))]
    own = {name: value for name, value in state.items() if name not in left_out}
    _check_repeated(file, state)
    head, backbone = _head(file, own), TimmBackbone(ARCHITECTURE)
    _load(file, backbone, own)
    encoder = Encoder(backbone, PIXELS, head, GRID, RESAMPLING)
    model = StructuralModel(encoder.eval(), MATCHER, file.stem, f"trained, as published in {file.name}")
    return Imported(model, left_out)


def _read(file: Path) -> dict[str, Tensor]:
    """The checkpoint's tensors under torchvision's names, without the prefix that wrappers put before them."""
    state = read_weights(file)
    for name, value in state.items():
        if wrong := _wrong(value):
            raise ModelError(f"{file}: expected finite tensors, but {_some([name])} {wrong}")
    own = [*TimmBackbone(ARCHITECTURE).model.state_dict(), f"{HEAD}.weight", f"{HEAD}.bias"]
    prefix = fit_names(state, own).prefix
    plain = {name.removeprefix(prefix): value for name, value in state.items()}
    if len(plain) < len(state):
        raise ModelError(f"{file}: expected each name once, got some both with and without the prefix {prefix}")
    return plain


def _wrong(value: Tensor) -> str | None:
    """Why a tensor cannot be a weight, in words; None if it can."""
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
    if not plain or value.dtype not in DTYPES:
        return "is not a dense tensor of real numbers on the CPU"
    # Strides can give a single number any shape; copying such a tensor would allocate memory for all of it.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "has a shape larger than its data"
    return None if bool(value.isfinite().all()) else "contains NaN or infinity"


def _check_repeated(file: Path, state: Mapping[str, Tensor]) -> None:
    """Check that repeated layers equal the originals; otherwise the published model is a different one."""
    for name, value in state.items():
        if name.startswith(REPEATED):
            block, _, rest = name.removeprefix(REPEATED).partition(".")
            original = f"layer{int(block) + 1}.{rest}" if block in LAYERS else ""
            if not _repeats(state.get(original), value):
                raise ModelError(
                    f"{file}: {_some([name])} does not equal {_some([original or 'a layer'])}; "
                    "this kind of model is not supported"
                )


def _repeats(original: Tensor | None, value: Tensor) -> bool:
    return original is not None and original.dtype == value.dtype and torch.equal(original, value)


def _head(file: Path, state: dict[str, Tensor]) -> nn.Linear:
    """Remove the embedding from the state: a weight (d, c), or (d, c, 1, 1) of an equivalent convolution."""
    weight, bias = state.pop(f"{HEAD}.weight", None), state.pop(f"{HEAD}.bias", None)
    if weight is None:
        raise ModelError(f"{file}: expected an embedding {HEAD}.weight, got only {_some(state)}")
    if weight.ndim not in (2, 4) or any(side != 1 for side in weight.shape[2:]):
        raise ModelError(f"{file}: expected {HEAD}.weight of shape (d, c) or (d, c, 1, 1), got {tuple(weight.shape)}")
    if not len(weight) or weight.shape[1] != CHANNELS or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = " and ".join(str(tuple(value.shape)) for value in (weight, bias) if value is not None)
        raise ModelError(f"{file}: expected {HEAD} of shapes (d, {CHANNELS}) and (d,), got {shapes}")
    head = nn.Linear(CHANNELS, weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight.flatten(1))
        head.bias.copy_(torch.zeros_like(head.bias) if bias is None else bias)
    return head


def _load(file: Path, backbone: TimmBackbone, state: Mapping[str, Tensor]) -> None:
    own: dict[str, Tensor] = backbone.model.state_dict()
    # Counters of training steps, which older PyTorch versions did not save.
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    problems = {
        "missing": [name for name in needed if name not in state],
        "unknown": [name for name in state if name not in own],
        "of another shape": [name for name in own if name in state and state[name].shape != own[name].shape],
    }
    found = [f"{what}: {_some(names)}" for what, names in problems.items() if names]
    if found:
        raise ModelError(
            f"{file}: expected the tensors of torchvision's ResNet-50 and last_linear, got differences "
            f"({', '.join(found)})"
        )
    backbone.model.load_state_dict({**own, **state})


def _some(names: Any) -> str:
    listed = [printable(str(name))[:80] for name in names]
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
