"""`timm:NAME?weights=FILE&block=8`: the name of a timm model with options, as users write it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from diml.errors import ModelError

OPTIONS = ("weights", "block", "norm", "size")


@dataclass(frozen=True)
class TimmSource:
    """A timm model, where its weights come from, and how it is built.

    Attributes:
        architecture: timm's name.
        weights: a weight file, or "hub" or "random".
        block, norm, size: see `diml.embedding.TimmBackbone`.
    """

    architecture: str
    weights: str
    block: int | None = None
    norm: bool = False
    size: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The model's name in output: without the weights, whose place says nothing about the model.

        >>> parse_timm("timm:test_vit?weights=random&size=160&block=2").name
        'timm:test_vit?block=2&size=160'
        """
        options = {
            "block": self.block,
            "norm": int(self.norm) or None,
            "size": self.size and "x".join(map(str, dict.fromkeys(self.size))),
        }
        given = "&".join(f"{name}={value}" for name, value in options.items() if value is not None)
        return f"timm:{self.architecture}" + (f"?{given}" if given else "")


def parse_timm(spec: str) -> TimmSource:
    """Read `timm:NAME?weights=FILE`, where `&block=N`, `&norm=1` and `&size=PIXELS` or `&size=HEIGHTxWIDTH` may follow.

    Raises:
        ModelError: weights are missing, an option is unknown or given twice, or its value is not a number.

    >>> parse_timm("timm:test_vit?weights=vit.pth&block=2")
    TimmSource(architecture='test_vit', weights='vit.pth', block=2, norm=False, size=None)
    """
    architecture, _, text = spec.removeprefix("timm:").partition("?")
    given: dict[str, str] = {}
    # A path may hold an ampersand, but not one that begins an option.
    for piece in re.split(r"&(?=\w+=)", text) if text else []:
        name, _, value = piece.partition("=")
        if name not in OPTIONS:
            raise ModelError(f"{spec}: expected options of {', '.join(OPTIONS)}, got {name!r}")
        if name in given:
            raise ModelError(f"{spec}: expected {name} once, got it twice")
        given[name] = value
    if not given.get("weights"):
        raise ModelError(
            f"{spec}: expected weights; write timm:{architecture}?weights=FILE, or ?weights=hub to download them"
        )
    if given.get("norm", "0") not in ("0", "1"):
        raise ModelError(f"{spec}: expected norm=0 or norm=1, got {given['norm']!r}")
    block = None if "block" not in given else _number(spec, "block", given["block"])
    size = None if "size" not in given else _size(spec, given["size"])
    return TimmSource(architecture, given["weights"], block, given.get("norm") == "1", size)


def _number(spec: str, name: str, text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise ModelError(f"{spec}: expected {name} as a whole number, got {text!r}")
    return int(text)


def _size(spec: str, text: str) -> tuple[int, int]:
    sides = text.split("x")
    if len(sides) > 2 or not all(re.fullmatch(r"[0-9]{1,9}", side) for side in sides):
        raise ModelError(f"{spec}: expected size in pixels, such as 224 or 224x336 for height and width, got {text!r}")
    return int(sides[0]), int(sides[-1])
