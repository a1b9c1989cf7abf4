"""Published checkpoints of metric learning on ResNet-50: read without running their code, made into a model of ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diml.data import printable
from diml.embedding import Encoder, Preprocessing, TimmBackbone
from diml.errors import ModelError, first_line
from diml.matching import Matcher
from diml.model.structural import StructuralModel

ARCHITECTURE, CHANNELS = "resnet50", 2048
HEAD = "last_linear"
# The layers once more under another name, and the classifier of ImageNet, which such a model does not use.
REPEATED, CLASSIFIER, LAYERS = "layer_blocks.", "fc.", ("0", "1", "2", "3")
STATES = ("model", "state_dict")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)

# As the images of the field are prepared, and the paper matches: resized to 256, cut to 224.
PIXELS = Preprocessing(size=(224, 224), interpolation="bilinear", fit="crop", crop=224 / 256)
RESAMPLING, GRID = "bilinear16", (4, 4)
MATCHER = Matcher("cross_correlation", weight=0.5, eps=0.05)


@dataclass(frozen=True)
class Imported:
    """A model, and what of its checkpoint it does without.

    Attributes:
        model: with the outputs of the checkpoint.
        left_out: names in the checkpoint that have no part in these.
    """

    model: StructuralModel
    left_out: list[str]


def import_checkpoint(file: Path) -> Imported:
    """A model out of a checkpoint of ResNet-50 with a linear embedding, in one of the two public formats.

    These are `{"model": state, ...}` and `{"state_dict": state, ...}`, whose state has the names of torchvision's
    ResNet-50, such as `layer1.0.conv1.weight`, and the embedding as `last_linear`, a linear layer or a 1x1 convolution.
    `model.` may stand before a name, and `module.` before that; `layer_blocks.0` to `layer_blocks.3` may repeat the
    four layers.

    The images are prepared and compared as in the paper: ImageNet's statistics, resized to 256 and cut to 224,
    resampled by `bilinear16` to 4x4, cross-correlation marginals.

    Raises:
        ModelError: the file is missing, cannot be read without running code in it, or is no such checkpoint; tensors
            that are missing, unknown or of another shape are named.
    """
    state = _plain(file, _read(file))
    left_out = [name for name in state if name.startswith((REPEATED, CLASSIFIER))]
    own = {name: value for name, value in state.items() if name not in left_out}
    _check_repeated(file, state)
    head, backbone = _head(file, own), TimmBackbone(ARCHITECTURE)
    _load(file, backbone, own)
    encoder = Encoder(backbone, PIXELS, head, GRID, RESAMPLING)
    model = StructuralModel(encoder.eval(), MATCHER, file.stem, f"trained, as published in {file.name}")
    return Imported(model, left_out)


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        raise ModelError(f"{file}: no such checkpoint; give a file that torch.save has written")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unusual file is either read or refused
            held: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror or error}); check the permissions") from error
    except Exception as error:
        raise ModelError(
            f"{file}: cannot be read without running code that it holds ({first_line(error)}); where you trust it, "
            "convert it: checkpoint = torch.load(FILE, weights_only=False, map_location='cpu'), then "
            "torch.save({'model': checkpoint['model']}, NEW), or 'state_dict' for 'model'"
        ) from error
    state = next(
        (held[key] for key in STATES if isinstance(held, Mapping) and isinstance(held.get(key), Mapping)), None
    )
    if state is None:
        raise ModelError(f"{file}: holds {_what(held)}; expected a dict with the entry model or state_dict")
    for name, value in state.items():
        if wrong := _wrong(value):
            raise ModelError(f"{file}: its state holds {_some([name])}, which {wrong}; expected tensors by name")
    return {str(name): value for name, value in state.items()}


def _wrong(value: Any) -> str | None:
    """Why it cannot be a weight, in words; None where it can."""
    if not isinstance(value, Tensor):
        return "is no tensor"
    plain = value.layout == torch.strided and value.device.type == "cpu" and not value.is_nested
    if not plain or value.dtype not in DTYPES:
        return "is no plain tensor of numbers"
    # Strides can make any shape of a single number, which would become memory when it is copied.
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return "says to be larger than it is"
    return None if bool(value.isfinite().all()) else "has NaN or infinity in it"


def _what(held: Any) -> str:
    if not isinstance(held, Mapping):
        return f"a {type(held).__name__}"
    return f"a dict with the entries {_some(held)}" if held else "an empty dict"


def _plain(file: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state by names without `module.` and `model.`."""
    plain = {name.removeprefix("module.").removeprefix("model."): value for name, value in state.items()}
    if len(plain) < len(state):
        raise ModelError(f"{file}: has the same names with and without model. before them; expected each name once")
    return plain


def _check_repeated(file: Path, state: Mapping[str, Tensor]) -> None:
    """What is said to be the same has to be, or the model that was published is another one."""
    for name, value in state.items():
        if name.startswith(REPEATED):
            block, _, rest = name.removeprefix(REPEATED).partition(".")
            twin = f"layer{int(block) + 1}.{rest}" if block in LAYERS else ""
            if twin not in state or state[twin].dtype != value.dtype or not torch.equal(state[twin], value):
                raise ModelError(
                    f"{file}: its {_some([name])} does not repeat {_some([twin or 'a layer'])}; "
                    "this model is not known here"
                )


def _head(file: Path, state: dict[str, Tensor]) -> nn.Linear:
    """Takes the embedding out of the state: (d, c), or (d, c, 1, 1) of a convolution, which computes the same."""
    weight, bias = state.pop(f"{HEAD}.weight", None), state.pop(f"{HEAD}.bias", None)
    if weight is None:
        raise ModelError(f"{file}: has no {HEAD}.weight, so it has no embedding; expected one (names: {_some(state)})")
    if weight.ndim not in (2, 4) or any(side != 1 for side in weight.shape[2:]):
        raise ModelError(f"{file}: {HEAD}.weight has the shape {tuple(weight.shape)}; expected (d, c) or (d, c, 1, 1)")
    if not len(weight) or weight.shape[1] != CHANNELS or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = " and ".join(str(tuple(value.shape)) for value in (weight, bias) if value is not None)
        raise ModelError(f"{file}: {HEAD} has the shapes {shapes}; expected (d, {CHANNELS}) and (d,)")
    head = nn.Linear(CHANNELS, weight.shape[0])
    with torch.no_grad():
        head.weight.copy_(weight.flatten(1))
        head.bias.copy_(torch.zeros_like(head.bias) if bias is None else bias)
    return head


def _load(file: Path, backbone: TimmBackbone, state: Mapping[str, Tensor]) -> None:
    own: dict[str, Tensor] = backbone.model.state_dict()
    # Counters of training steps, which PyTorch did not always save.
    needed = [name for name in own if not name.endswith("num_batches_tracked")]
    problems = {
        "lacks": [name for name in needed if name not in state],
        "also holds": [name for name in state if name not in own],
        "has in another shape": [name for name in own if name in state and state[name].shape != own[name].shape],
    }
    found = [f"{what} {_some(names)}" for what, names in problems.items() if names]
    if found:
        raise ModelError(
            f"{file}: is no {ARCHITECTURE} with an embedding: it {', and '.join(found)}; "
            "expected the names of torchvision's ResNet-50 and last_linear"
        )
    backbone.model.load_state_dict({**own, **state})


def _some(names: Any) -> str:
    listed = [printable(str(name))[:80] for name in names]
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
