"""Names of what can run a backbone."""

from __future__ import annotations

from importlib.util import find_spec

from diml.errors import UsageError

# The module that each of them needs.
NEEDS = {"torch": "torch", "openvino": "openvino", "onnx": "onnxruntime"}
BACKENDS = ("auto", *NEEDS)


def parse_backend(name: str) -> str:
    """The name of a backend that is installed.

    Args:
        name: torch, openvino or onnx; or auto, which takes what is fastest here.

    Raises:
        UsageError: there is no such backend, or its package is not installed.

    >>> parse_backend("torch")
    'torch'
    """
    if name not in BACKENDS:
        raise UsageError(f"expected a backend of {', '.join(BACKENDS)}, got {name!r}")
    if name != "auto" and not is_installed(name):
        raise UsageError(f"the backend {name} is not installed: pip install 'diml[{name}]'")
    return name


def is_installed(name: str) -> bool:
    return find_spec(NEEDS[name]) is not None
