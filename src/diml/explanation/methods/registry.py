"""The explanation methods by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from diml.errors import UsageError
from diml.explanation.methods.bilinear import Bilinear
from diml.explanation.methods.controls import CentreControl, IdentityControl, RandomControl
from diml.explanation.methods.exact import ExactTransport
from diml.explanation.methods.gradients import GradCam
from diml.explanation.methods.method import Method
from diml.explanation.methods.nearest import NearestPatch
from diml.explanation.methods.occlusion import Occlusion
from diml.explanation.methods.structural import (
    Contributions,
    Structural,
    structural_cross,
    structural_only,
    structural_partial,
    structural_uniform,
)

# A method is listed under the name that it has itself.
METHODS: Mapping[str, Callable[[], Method]] = {
    "structural": Structural,
    "structural-only": structural_only,
    "structural-uniform": structural_uniform,
    "structural-cross": structural_cross,
    "structural-partial": structural_partial,
    "contributions": Contributions,
    "bilinear": Bilinear,
    "grad-cam": GradCam,
    "sbsm": Occlusion,
    "nearest": NearestPatch,
    "emd": ExactTransport,
    "identity": IdentityControl,
    "centre": CentreControl,
    "random": RandomControl,
}
# Variants of `structural`, measured only when they are named.
BY_NAME_ONLY = ("structural-uniform", "structural-cross", "structural-partial")


def methods(names: Sequence[str] = ()) -> list[Method]:
    """The methods of these names, each once, in order; without names all but variants and those whose extra is missing.

    Raises:
        UsageError: an unknown name, or the extra of a method is not installed.

    >>> [method.name for method in methods(["bilinear", "random", "bilinear"])]
    ['bilinear', 'random']
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UsageError(f"expected one of the methods {', '.join(METHODS)}, got {unknown[0]!r}")
    chosen = names or [name for name in METHODS if name not in BY_NAME_ONLY and (name != "emd" or find_spec("scipy"))]
    return [METHODS[name]() for name in dict.fromkeys(chosen)]
