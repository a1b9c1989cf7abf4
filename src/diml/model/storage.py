"""Loading and saving models: packages, weight files, and folders of `config.json` and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from diml.embedding import (
    PACKAGED,
    Encoder,
    Preprocessing,
    TimmBackbone,
    load_weights,
    packaged_backbone,
    packaged_preprocessing,
    parse_weights,
)
from diml.errors import ModelError, UsageError, first_line
from diml.files import user_path, write_atomic
from diml.matching import Matcher
from diml.model.config import backbone_of, preprocessing_of, read_config
from diml.model.timm_source import parse_timm

T = TypeVar("T")
# What models that were not trained compare with; chosen by benchmarks/defaults on training halves, see docs/weights.md.
UNTRAINED_WEIGHTS = "norm*rarity"
UNTRAINED_MATCHER = Matcher(transport="one-sided", weight=0.85)
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Loaded(NamedTuple):
    """The arguments of `StructuralModel`."""

    encoder: Encoder
    matcher: Matcher
    name: str
    head_fitted_on: str | None
    weights_fitted_on: str | None = None


def load(spec: str, backbone: nn.Module | None = None) -> Loaded:
    """Load what `StructuralModel.from_pretrained` takes.

    Raises:
        ModelError: there is no such model, or it cannot be loaded.
    """
    if spec in PACKAGED:
        return _untrained(packaged_backbone(spec), packaged_preprocessing(spec), spec)
    if spec.startswith("timm:"):
        return _from_timm(spec)
    folder = user_path(spec)
    for place in (folder, folder / "model"):
        if (place / CONFIG).is_file():
            return _from_folder(place, backbone)
    if folder.exists():
        raise ModelError(
            f"{folder}: is not a saved model, it has no {CONFIG}; give a folder written by save_pretrained"
        )
    names = ", ".join(PACKAGED)
    raise ModelError(f"{folder}: no such model; give {names}, timm:NAME?weights=FILE, a model folder or an index")


def save(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Write both files, each by an atomic rename, the configuration last.

    Raises:
        ModelError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / WEIGHTS, to_bytes({name: _own(value) for name, value in state.items()}), durable=True)
        write_atomic(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode(), durable=True)
    except OSError as error:
        raise ModelError(f"{folder}: the model cannot be written ({error.strerror or error})") from error


def _own(value: Tensor) -> Tensor:
    """A copy: safetensors does not support tied weights, which share memory."""
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)


def _from_timm(spec: str) -> Loaded:
    source = parse_timm(spec)
    options = {"block": source.block, "norm": source.norm, "size": source.size}
    backbone = TimmBackbone(source.architecture, from_hub=source.weights == "hub", **options)  # type: ignore[arg-type]
    if source.block is not None or source.size is not None:
        backbone.check()
    if source.weights not in ("hub", "random"):
        load_weights(backbone, user_path(source.weights))
    return _untrained(backbone, backbone.preprocessing(), source.name)


def _untrained(backbone: nn.Module, preprocessing: Preprocessing, name: str) -> Loaded:
    weights = parse_weights(UNTRAINED_WEIGHTS, lambda: 0)
    return Loaded(Encoder(backbone, preprocessing, weights=weights), UNTRAINED_MATCHER, name, None)


def _from_folder(folder: Path, backbone: nn.Module | None) -> Loaded:
    config = read_config(folder / CONFIG)

    def setting(name: str, build: Callable[[Any], T]) -> T:
        try:
            return build(config[name])
        except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
            raise ModelError(
                f"{folder / CONFIG}: invalid {name} ({first_line(error)}); save the model again"
            ) from error

    if setting("backbone", lambda value: value["kind"]) == "timm":
        architecture, options = setting("backbone", backbone_of)
        backbone = TimmBackbone(architecture, **options)
    elif backbone is None:
        raise ModelError(f"{folder}: was saved with a custom backbone; pass that module as backbone=")
    pixels = setting("preprocessing", preprocessing_of)
    head = setting("head", lambda value: None if value is None else nn.Linear(int(value[0]), int(value[1])))
    grid = setting("grid", lambda value: (int(value[0]), int(value[1])))
    encoder = setting("resampling", lambda value: Encoder(backbone, pixels, head, grid, value))
    weights = str(config.get("weights", "uniform"))
    matcher = setting("matching", lambda value: Matcher(**value))
    try:
        state = load_file(folder / WEIGHTS)
        encoder.weights = parse_weights(weights, lambda: _weights_dim(state))
        _take_dtypes(encoder, state)
        encoder.load_state_dict(state)
    except UsageError as error:
        raise ModelError(f"{folder / CONFIG}: invalid weights ({error}); update diml") from error
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(
            f"{folder / WEIGHTS}: cannot be loaded ({first_line(error)}); copy the whole model folder again"
        ) from error
    fitted_on = config.get("weights_fitted_on")
    return Loaded(encoder.eval(), matcher, str(config["name"]), config["head_fitted_on"], fitted_on)


def _weights_dim(state: Mapping[str, Tensor]) -> int:
    """Numbers per part that the weights of parts were made for."""
    found = (value.shape[1] for name, value in state.items() if name.startswith("weights.") and value.ndim == 2)
    return max(found, default=0)


def _take_dtypes(encoder: Encoder, state: Mapping[str, Tensor]) -> None:
    """Keep the precision of the stored weights: casting them would change the model's fingerprint."""
    for name, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
        if name in state and value.is_floating_point() and state[name].is_floating_point():
            value.data = value.data.to(state[name].dtype)
