"""Names of what can run a backbone."""

from __future__ import annotations

from importlib.util import find_spec

from diml.errors import UsageError

# The module that each of them needs.
NEEDS = {
    "torch": "torch",
    "openvino": "openvino",
    "onnx": "onnxruntime",
    "torch-bf16": "torch",
    "openvino-bf16": "openvino",
}
BACKENDS = ("auto", *NEEDS)
REDUCED = ("torch-bf16", "openvino-bf16")
"""Those whose maps are near those of PyTorch, but not the same."""


def parse_backend(name: str) -> str:
    """The name of a backend that is installed.

    Args:
        name: torch, openvino or onnx; auto, which takes what is fastest here of these; or torch-bf16 or openvino-bf16,
            which compute in bfloat16.

    Raises:
        UsageError: there is no such backend, or its package is not installed.

    >>> parse_backend("torch")
    'torch'
    """
    if name not in BACKENDS:
        raise UsageError(f"expected a backend of {', '.join(BACKENDS)}, got {name!r}")
    if name != "auto" and not is_installed(name):
        raise UsageError(f"the backend {name} is not installed: pip install 'diml[{name.removesuffix('-bf16')}]'")
    return name


def is_installed(name: str) -> bool:
    return find_spec(NEEDS[name]) is not None
