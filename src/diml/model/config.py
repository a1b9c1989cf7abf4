"""The configuration of a model, everything but its weights: written, read, and part of its fingerprint."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any, Protocol

import torch

from diml.embedding import Encoder, Preprocessing, TimmBackbone
from diml.embedding.part_weights import name_of
from diml.errors import ModelError
from diml.matching import Matcher

# Version 2 may have a decoding and a bit depth in its preprocessing, version 3 weights of parts and a transport,
# version 4 a block, a norm and a size of its timm backbone, version 5 decoding 3. A model is written as the oldest of
# these that holds all it has, so that older versions of diml can read it.
FORMAT, VERSION = "diml-model", 5


def embedding_config(encoder: Encoder) -> dict[str, Any]:
    """The settings that feature maps depend on."""
    backbone = encoder.backbone
    weighted = (
        {} if encoder.weights is None else {"weights": name_of(encoder.weights) or type(encoder.weights).__qualname__}
    )
    return {
        "backbone": backbone.spec if isinstance(backbone, TimmBackbone) else {"kind": "module"},
        "preprocessing": _stored(encoder.preprocessing),
        "grid": list(encoder.grid),
        "resampling": encoder.resampling,
        "head": None if encoder.head is None else [encoder.head.in_features, encoder.head.out_features],
        **weighted,
    }


def model_config(
    encoder: Encoder, matcher: Matcher, name: str, head_fitted_on: str | None, weights_fitted_on: str | None = None
) -> dict[str, Any]:
    """The content of `config.json`.

    Raises:
        ModelError: the marginals or the weights are not a named scheme.
    """
    if not isinstance(matcher.marginals, str):
        raise ModelError("a model can only be saved with marginals given by name; use with_matcher(marginals=NAME)")
    if name_of(encoder.weights) is None:
        raise ModelError("a model can only be saved with weights given by name; use with_weights(NAME)")
    weighted = encoder.weights is not None
    matching = asdict(matcher)
    if matcher.transport == "full":
        del matching["transport"], matching["bin_similarity"]
    return {
        "format": FORMAT,
        "version": _version(encoder, weighted or "transport" in matching),
        "name": name,
        **embedding_config(encoder),
        "head_fitted_on": head_fitted_on,
        **({"weights_fitted_on": weights_fitted_on} if weighted else {}),
        "matching": matching,
    }


def _version(encoder: Encoder, weighted: bool) -> int:
    backbone = encoder.backbone
    if encoder.preprocessing.decoding > 2:
        return 5
    if isinstance(backbone, TimmBackbone) and set(backbone.spec) != {"kind", "architecture"}:
        return 4
    return 3 if weighted else 2


def fingerprint(encoder: Encoder) -> str:
    """Hex digest of the weights and settings that feature maps depend on."""
    digest = hashlib.sha256(json.dumps(embedding_config(encoder), sort_keys=True).encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def preprocessing_of(settings: dict[str, Any]) -> Preprocessing:
    """The preprocessing of a configuration, where JSON has lists for tuples; without a decoding, it is version 1."""
    as_tuples: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in settings.items()}
    return Preprocessing(**{"decoding": 1, **as_tuples})


def backbone_of(settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The architecture and the options of a timm backbone.

    Raises:
        ValueError, KeyError: the settings are not those of a timm backbone.

    >>> backbone_of({"kind": "timm", "architecture": "test_vit", "block": 2, "size": [64, 96]})
    ('test_vit', {'block': 2, 'size': (64, 96)})
    """
    options = {name: value for name, value in settings.items() if name not in ("kind", "architecture")}
    if unknown := options.keys() - {"block", "norm", "size"}:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    if "block" in options:
        options["block"] = int(options["block"])
    if "norm" in options:
        options["norm"] = bool(options["norm"])
    if "size" in options:
        height, width = options["size"]
        options["size"] = int(height), int(width)
    return str(settings["architecture"]), options


def _stored(preprocessing: Preprocessing) -> dict[str, Any]:
    """Without what version 0.1.0 did not have where it is unused, so that its models keep their fingerprints."""
    settings = asdict(preprocessing)
    if preprocessing.decoding == 1:
        del settings["decoding"]
    if preprocessing.bit_depth is None:
        del settings["bit_depth"]
    return settings


class TextFile(Protocol):
    """A path, or what can be read like one."""

    def read_text(self, encoding: str) -> str: ...


def read_config(file: TextFile) -> dict[str, Any]:
    """Read `config.json` and check that it has all entries.

    Raises:
        ModelError: the file cannot be read, is not a configuration of a model, or is of a newer version.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read as JSON ({error}); copy the whole model folder again") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise ModelError(f"{file}: is not a configuration of a diml model; give a folder written by save_pretrained")
    if not isinstance(config.get("version"), int) or config["version"] > VERSION:
        raise ModelError(
            f"{file}: expected format version {VERSION} or older, got {config.get('version')!r}; update diml"
        )
    needed = {"name", "backbone", "preprocessing", "grid", "resampling", "head", "head_fitted_on", "matching"}
    if missing := needed - config.keys():
        raise ModelError(f"{file}: {', '.join(sorted(missing))} missing; save the model again")
    return config
