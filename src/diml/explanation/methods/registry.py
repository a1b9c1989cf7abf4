"""The methods by name."""

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
from diml.explanation.methods.structural import Contributions, Structural

METHODS: Mapping[str, Callable[[], Method]] = {
    "structural": Structural,
    "structural-only": lambda: Structural("structural-only", {"weight": 1.0}, corresponds=False),
    "structural-uniform": lambda: Structural("structural-uniform", {"marginals": "uniform"}),
    "structural-cross": lambda: Structural("structural-cross", {"marginals": "cross_correlation"}),
    "structural-partial": lambda: Structural("structural-partial", {"mass": 0.5}),
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
# Variants of what is already there; asked for by name.
BY_NAME_ONLY = ("structural-uniform", "structural-cross", "structural-partial")


def methods(names: Sequence[str] = ()) -> list[Method]:
    """The methods of these names, each once, in their order; without names all but variants and what lacks its extra.

    Raises:
        UsageError: there is no method of that name, or its extra is not installed.

    >>> [method.name for method in methods(["bilinear", "random", "bilinear"])]
    ['bilinear', 'random']
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise UsageError(f"the method {unknown[0]!r} came; expected one of {', '.join(METHODS)}")
    chosen = names or [name for name in METHODS if name not in BY_NAME_ONLY and (name != "emd" or find_spec("scipy"))]
    return [METHODS[name]() for name in dict.fromkeys(chosen)]
