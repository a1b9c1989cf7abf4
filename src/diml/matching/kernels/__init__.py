"""Backends: fast implementations of one function, the scores of many pairs of images from their unit rows.

A backend is a module with the functions of `Backend`; it may also have those of `PlanBackend`, `BoundBackend` and
`ShortlistBackend`. Images are given as unit rows (n, r + 1, d), the pooled one last; a GPU backend takes `ScaledMaps`
as well, and the CPU backend `CodedMaps` as the images of b in lists of pairs. Weights of the parts, or marginals that
the caller gives, come as `PartWeights`.

The reference is plain PyTorch (`diml.matching.reference`): any device and dtype, any marginals, gradients. A backend
takes over where no gradient is needed and the marginals are given or a scheme that it has compiled in.
"""

from __future__ import annotations

import functools
import importlib
import os
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.matching.defaults import BIN_SIMILARITY, EPS, MAX_ITERATIONS, TOLERANCE, TRANSPORT

VARIABLE = "DIML_KERNEL"
# Marginal schemes that are compiled into the backends; the reference computes all others.
SCHEMES = ("uniform", "cross_correlation")
# Backends by the type of device: the module, and the package to install if it cannot be imported.
BACKENDS = {"cpu": ("cpu_scores", "numba"), "cuda": ("triton_scores", "triton")}


@dataclass(frozen=True)
class BackendSettings:
    """The settings of a `Matcher` that a backend needs.

    Attributes:
        scheme: name of the marginal scheme.
        eps, tolerance, max_iterations: as in `transport_plan`.
        transport: "full", "one-sided" or "dustbin".
        bin_similarity: with "dustbin", the similarity at which a part is as well left unmatched.
    """

    scheme: str
    eps: float = EPS
    tolerance: float = TOLERANCE
    max_iterations: int = MAX_ITERATIONS
    transport: str = TRANSPORT
    bin_similarity: float = BIN_SIMILARITY


class PartWeights(NamedTuple):
    """Weights of the parts of both sides, float32, >= 0, each row summing to 1; the scheme multiplies them.

    With the scheme "uniform" they are the marginals.
    """

    a: Float[Tensor, "n r_a"]
    b: Float[Tensor, "m r_b"]


class BackendScores(NamedTuple):
    """Scores of pairs, all of one shape.

    If the range of a pair's costs is too wide for float32 (range / eps > 80) or not finite, `iterations` is -1 and the
    structural similarity NaN: the reference has to solve this pair.
    """

    structural: Float[Tensor, "*pairs"]
    pooled: Float[Tensor, "*pairs"]
    iterations: Int[Tensor, "*pairs"]
    converged: Bool[Tensor, "*pairs"]


class BackendPlans(NamedTuple):
    """Transport plans of p pairs, as in `TransportPlan`; not valid where `iterations` is -1, as in `BackendScores`."""

    plan: Float[Tensor, "p r_a r_b"]
    error: Float[Tensor, " p"]
    iterations: Int[Tensor, " p"]
    converged: Bool[Tensor, " p"]


@runtime_checkable
class Backend(Protocol):
    """A module of this package that scores pairs."""

    def score_pairs(
        self,
        rows_a: Any,
        rows_b: Any,
        i: Tensor,
        j: Tensor,
        settings: BackendSettings,
        weights: PartWeights | None = None,
    ) -> BackendScores:
        """Each (p,)."""

    def score_matrix(
        self, rows_a: Any, rows_b: Any, settings: BackendSettings, weights: PartWeights | None = None
    ) -> BackendScores:
        """Each (n, m). If both are the same object, each unordered pair is solved once, the lower index first.

        A one-sided transport is not symmetric, so all pairs are solved then.
        """

    def unsupported(self, parts_a: int, parts_b: int, dtype: torch.dtype, settings: BackendSettings) -> str | None:
        """Why the backend cannot do this, in words that can follow "because"; None if it can."""


@runtime_checkable
class PlanBackend(Protocol):
    """A backend that returns plans, too; for others the reference computes them."""

    def plan_pairs(
        self,
        rows_a: Any,
        rows_b: Any,
        i: Tensor,
        j: Tensor,
        settings: BackendSettings,
        weights: PartWeights | None = None,
    ) -> BackendPlans: ...

    def plan_products(
        self, products: Tensor, i: Tensor, j: Tensor, settings: BackendSettings, weights: PartWeights | None = None
    ) -> BackendPlans: ...


@runtime_checkable
class BoundBackend(Protocol):
    """A backend with upper bounds of the structural similarity; with others no candidate is excluded by its bound."""

    def bound_pairs(
        self,
        rows_a: Any,
        rows_b: Any,
        i: Tensor,
        j: Tensor,
        settings: BackendSettings,
        weights: PartWeights | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The bounds, and the pooled similarity, each (p,)."""


@runtime_checkable
class ShortlistBackend(Protocol):
    """A backend that is faster if the candidates of each image are given together."""

    def score_shortlists(
        self,
        rows_a: Any,
        rows_b: Any,
        shortlist: Tensor,
        settings: BackendSettings,
        weights: PartWeights | None = None,
    ) -> BackendScores:
        """Each (q, K)."""


def as_int64(index: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Indices as int64.

    Raises:
        UsageError: indices that are not whole numbers, such as floats or a mask.
    """
    if index.is_floating_point() or index.is_complex() or index.dtype == torch.bool:
        raise UsageError(f"expected whole numbers as indices of images, got {index.dtype}")
    return index.detach().to(torch.int64)


def checked_indices(index: Int[Tensor, "*n"], images: int) -> Int[Tensor, "*n"]:
    """Indices as int64, 0 <= index < images, for compiled code, which does not check them.

    Raises:
        UsageError: indices that are not whole numbers.
        IndexError: an index out of range.

    >>> checked_indices(torch.tensor([0, -1]), 3)
    tensor([0, 2])
    """
    index = as_int64(index)
    if index.numel():
        lowest, highest = (int(end) for end in index.aminmax())
        if lowest < -images or highest >= images:
            raise IndexError(f"indices from {lowest} to {highest} are out of range for {images} images")
        if lowest < 0:
            index = torch.where(index < 0, index + images, index)
    return index.contiguous()


def choose_backend(device: torch.device) -> Backend | None:
    """The fastest backend for tensors on a device; None for the reference.

    The environment variable DIML_KERNEL forces one: torch, cpu or cuda. If it is not set and the backend cannot be
    loaded, one warning says so and the reference is used.

    Raises:
        UsageError: DIML_KERNEL is not one of these, or names one that the device or the installation does not have.
    """
    forced = os.environ.get(VARIABLE, "")
    if forced not in ("", "torch", *BACKENDS):
        raise UsageError(f"expected {VARIABLE} to be torch, cpu or cuda, got {forced!r}; correct or unset it")
    if forced == "torch" or (not forced and device.type not in BACKENDS):
        return None
    if forced and forced != device.type:
        raise UsageError(
            f"{VARIABLE}={forced} cannot match maps on {device.type}; move the model (--device {forced}) or unset it"
        )
    backend, reason = _load(device.type)
    if backend is None:
        if forced:
            raise UsageError(f"{VARIABLE}={forced} cannot be used: {reason}")
        _warn(reason)
    return backend


def is_compiled() -> bool:
    """Whether code for the CPU may be compiled: it can be, and DIML_KERNEL does not ask for plain PyTorch."""
    return os.environ.get(VARIABLE) != "torch" and _load("cpu")[0] is not None


@functools.cache
def _load(name: str) -> tuple[Backend | None, str]:
    """The module, or why it cannot be loaded."""
    module, needs = BACKENDS[name]
    try:
        return cast(Backend, importlib.import_module(f"{__name__}.{module}")), ""
    except ImportError as error:
        return None, f"the {name} kernel cannot be loaded ({error}); pip install {needs}"


@functools.cache
def _warn(reason: str) -> None:
    warnings.warn(f"matching runs in plain PyTorch, which is slower: {reason}", RuntimeWarning, stacklevel=4)
