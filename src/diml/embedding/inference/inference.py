"""One backbone's forward pass without gradients, as fast as what is installed allows."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from diml.embedding.inference.names import REDUCED, is_installed, parse_backend
from diml.errors import UsageError, first_line

# What a backend makes of a backbone: pixels in, what the backbone would return out.
Run = Callable[[Tensor], Any]
# Images after which compiling, which takes seconds, has paid for itself.
COMPILE_AFTER = 256
# How far a backend's maps may be from those of PyTorch, relative to the largest number in them.
AGREE = 1e-3
# The same for a reduced precision: the root of the mean square of the difference, relative to that of the numbers.
NEAR = 0.2


@dataclass
class _State:
    """What is known about one backbone.

    Attributes:
        weights: identifies the values of its tensors; another value makes everything else void.
        seen: images so far.
        run: how it runs now.
        backend: what that is.
        tried: backends that were tried, successfully or not.
        ran: backends that images were embedded by.
    """

    weights: tuple[tuple[int, int], ...]
    run: Run
    seen: int = 0
    backend: str = "torch"
    tried: set[str] = field(default_factory=set)
    ran: set[str] = field(default_factory=set)


class Inference:
    """Runs backbones without gradients, by the backend that was chosen.

    A backend that cannot run a backbone, or whose maps are not those of PyTorch within 1e-3 of the largest number, is
    not used: PyTorch is, after one warning. On a GPU, in half precision and in training PyTorch always runs. A backend
    of reduced precision (`REDUCED`) has other maps, and is never replaced by PyTorch: what it cannot do is an error.

    Args:
        backend: torch, openvino or onnx, from the first image on; or auto: PyTorch for few images, and the fastest
            backend that is installed for many; or torch-bf16 or openvino-bf16, faster and less exact: the former is
            PyTorch under autocast, on the CPU or a GPU.

    Raises:
        UsageError: there is no such backend, or it is not installed; when it is used, one of reduced precision that
            cannot run this backbone on this processor.

    >>> backbone = nn.Conv2d(3, 5, 32, 32).eval()
    >>> Inference("torch")(backbone, torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 5, 2, 2])
    """

    def __init__(self, backend: str = "auto") -> None:
        self.backend = parse_backend(backend)
        self._states: weakref.WeakKeyDictionary[nn.Module, _State] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def __call__(self, backbone: nn.Module, pixels: Tensor) -> Any:
        """What the backbone returns for pixels (n, 3, H, W), without gradient."""
        with torch.no_grad():
            if not self._is_for(backbone, pixels):
                self._check_not_reduced(pixels)
                return backbone(pixels)
            with self._lock:
                state = self._state(backbone)
                self._choose(state, backbone, pixels)
                state.seen += len(pixels)
                state.ran.add(state.backend)
                return state.run(pixels)

    def prepare(self, backbone: nn.Module, pixels: Tensor) -> None:
        """Choose as for many images, at once: for a service, which must not stop for this later."""
        with torch.no_grad(), self._lock:
            if self._is_for(backbone, pixels):
                state = self._state(backbone)
                state.seen = max(state.seen, COMPILE_AFTER)
                self._choose(state, backbone, pixels)

    def used(self, backbone: nn.Module) -> str:
        """The backend that runs this backbone now."""
        state = self._states.get(backbone)
        return "torch" if state is None else state.backend

    def ran(self, backbone: nn.Module) -> set[str]:
        """The backends that have run this backbone, with its present weights."""
        state = self._states.get(backbone)
        return set() if state is None else set(state.ran)

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self.backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["backend"])

    def _state(self, backbone: nn.Module) -> _State:
        weights = _versions(backbone)
        state = self._states.get(backbone)
        if state is None or state.weights != weights:
            state = self._states[backbone] = _State(weights, backbone)
        return state

    def _choose(self, state: _State, backbone: nn.Module, pixels: Tensor) -> None:
        for backend in self._wanted(state.seen + len(pixels)):
            if backend in state.tried:
                continue
            try:
                run = _compiled(backend, backbone, pixels)
                if run is not backbone:
                    _check_agreement(run, backbone, pixels, backend in REDUCED)
            except Exception as error:  # of any library
                if backend in REDUCED:
                    raise UsageError(
                        f"the backend {backend} cannot be used here ({first_line(error)}); choose openvino or torch"
                    ) from error
                if backend != "torch":
                    _warn(backend, error)
                state.tried.add(backend)
                continue
            state.tried.add(backend)
            state.run, state.backend = run, backend

    def _check_not_reduced(self, pixels: Tensor) -> None:
        if self.backend in REDUCED and len(pixels):
            where = "" if self.backend == "torch-bf16" else " on the CPU"
            raise UsageError(f"the backend {self.backend} runs models in float32{where} only; choose torch")

    def _is_for(self, backbone: nn.Module, pixels: Tensor) -> bool:
        """Whether there is anything to gain: in float32, not in training, and on a device that the backend runs on."""
        parameters = list(backbone.parameters())
        devices = ("cpu", "cuda") if self.backend == "torch-bf16" else ("cpu",)
        plain = all(p.device.type in devices and p.dtype == torch.float32 for p in parameters)
        some = bool(parameters) and len(pixels) > 0
        return some and plain and pixels.dtype == torch.float32 and not backbone.training

    def _wanted(self, images: int) -> list[str]:
        """Backends that are worth their start, the best last."""
        if self.backend not in ("torch", "auto"):
            return [self.backend]
        # From the first image on: what an image gives must not depend on how many came before.
        wanted = ["torch"]
        if self.backend == "auto" and images > COMPILE_AFTER:
            wanted += [name for name in ("openvino", "onnx") if is_installed(name)][:1]
        return wanted


def _compiled(backend: str, backbone: nn.Module, pixels: Tensor) -> Run:
    if backend == "torch":
        from diml.embedding.inference.torch_backend import compiled
    elif backend == "openvino":
        from diml.embedding.inference.openvino_backend import compiled
    elif backend == "torch-bf16":
        from diml.embedding.inference.torch_backend import autocast as compiled
    elif backend == "openvino-bf16":
        from diml.embedding.inference import openvino_backend

        return openvino_backend.compiled(backbone, pixels[:1], "bf16")
    else:
        from diml.embedding.inference.onnx_backend import compiled
    return compiled(backbone, pixels[:1])


def _versions(backbone: nn.Module) -> tuple[tuple[int, int], ...]:
    """Changes with any change of the backbone's numbers."""
    tensors = chain(backbone.parameters(), backbone.buffers())
    return tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors)


def _check_agreement(run: Run, backbone: nn.Module, pixels: Tensor, reduced: bool) -> None:
    """Raises ArithmeticError where another backend's maps are not those of PyTorch, or not near them."""
    few = pixels[:2]
    expected, got = _tensors(backbone(few)), _tensors(run(few))
    if [t.shape for t in expected] != [t.shape for t in got]:
        raise ArithmeticError("its maps have another shape than those of PyTorch")
    for right, found in zip(expected, got, strict=True):
        tiny = torch.finfo(torch.float32).tiny
        if reduced:
            apart, most = (right - found).norm() / right.norm().clamp(min=tiny), NEAR
        else:
            apart, most = (right - found).abs().max() / right.abs().max().clamp(min=tiny), AGREE
        if not apart <= most and torch.isfinite(right).all():
            what = "their length" if reduced else "the largest number"
            raise ArithmeticError(f"its maps are {apart:.1g} of {what} away from those of PyTorch")


def _tensors(output: Any) -> tuple[Tensor, ...]:
    return output if isinstance(output, tuple) else (output,)


def _warn(backend: str, error: Exception) -> None:
    warnings.warn(
        f"the backend {backend} is not used, images are embedded by PyTorch: {first_line(error)}",
        RuntimeWarning,
        stacklevel=6,
    )
