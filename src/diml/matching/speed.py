"""Speed and accuracy of the backends on this machine, as printed by `diml bench`."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.kernels import BACKENDS, SCHEMES, VARIABLE, BackendSettings
from diml.matching.matcher import Matcher

# A measurement takes at least this long, and at least this many runs.
SECONDS, RUNS = 0.5, 3
# Images on each side of the matrix with which tiles are compared: enough to keep a GPU busy for milliseconds.
TILED_IMAGES = 2048
# Queries that are matched with their candidates in one call.
QUERIES = 50
# Number of kinds of parts in the synthetic maps, and how much parts of a kind differ. Chosen so that the number of
# iterations is similar to that of real images.
KINDS, NOISE = 12, 1.6


@dataclass(frozen=True)
class Speed:
    """The speed and accuracy of one backend.

    Attributes:
        backend: name of the backend; "torch" is the reference.
        marginals: name of the scheme, and "weighted" where the maps have weights of their parts.
        pairs_per_second: from feature maps to scores.
        ratio: speed relative to the reference.
        error: largest difference of a structural similarity from float64 solved to 1e-9, at the default tolerance.
        missing: why nothing was measured, in words; empty otherwise.
        transport: name of the transport.
    """

    backend: str
    marginals: str
    pairs_per_second: float = 0.0
    ratio: float = 0.0
    error: float = 0.0
    missing: str = ""
    transport: str = "full"


# What is measured: marginals, transport, and whether the maps have weights.
CASES = [
    *((scheme, "full", weighted) for scheme in SCHEMES for weighted in (False, True)),
    ("uniform", "one-sided", True),
    ("uniform", "dustbin", True),
]


def synthetic_maps(images: int, grid: tuple[int, int], dim: int, seed: int = 0) -> FeatureMaps:
    """float16 maps of images whose parts are of several kinds, so that parts have counterparts in other images.

    >>> synthetic_maps(3, (4, 4), 128)
    FeatureMaps(n=3, grid=4x4, dim=128, torch.float16, cpu)
    """
    random = torch.Generator().manual_seed(seed)
    parts = grid[0] * grid[1]
    kinds = torch.randn(KINDS, dim, generator=random)[torch.randint(KINDS, (images, parts), generator=random)]
    return FeatureMaps((kinds + NOISE * torch.randn(images, parts, dim, generator=random)).half(), grid)


def measure_backends(grid: tuple[int, int], dim: int, candidates: int, device: torch.device) -> Iterator[Speed]:
    """The speeds of the reference and of the backend for a device, for each scheme and transport, and with weights.

    Args:
        grid: rows and columns of the maps.
        dim: numbers per part.
        candidates: candidates per query.
        device: where the maps are.

    Raises:
        UsageError: a number below 1.
    """
    if min(*grid, dim, candidates) < 1:
        raise UsageError(f"expected numbers >= 1, got grid {grid}, dim {dim}, candidates {candidates}")
    queries = synthetic_maps(QUERIES, grid, dim, seed=1).to(device)
    gallery = synthetic_maps(max(candidates, 2 * QUERIES), grid, dim).to(device)
    shortlist = torch.stack([torch.randperm(len(gallery))[:candidates] for _ in range(QUERIES)]).to(device)
    for scheme, transport, weighted in CASES:
        matcher = Matcher(scheme, transport=transport)
        of_queries, of_gallery = (_weighted(maps) if weighted else maps for maps in (queries, gallery))
        exact = _exact(matcher, of_queries, of_gallery, shortlist)
        name = scheme + ", weighted" * weighted
        slow = 0.0
        for backend in ("torch", *BACKENDS):
            if backend not in ("torch", device.type):
                yield Speed(backend, name, missing=f"not measured, needs --device {backend}", transport=transport)
                continue
            with forced(backend):
                try:
                    rate = _rate(partial(matcher.rerank, of_queries, of_gallery, shortlist), shortlist, device)
                except UsageError as error:
                    yield Speed(backend, name, missing=str(error), transport=transport)
                    continue
                structural = matcher.replace(weight=1.0).rerank(of_queries, of_gallery, shortlist)
            slow = slow or rate
            error_ = float((structural - exact).abs().max())
            yield Speed(backend, name, rate, rate / slow, error_, transport=transport)


def _weighted(maps: FeatureMaps) -> FeatureMaps:
    """With weights by the norm of the parts, cubed, so that they differ."""
    return maps.replace(weights=torch.linalg.vector_norm(maps.local.float(), dim=2) ** 3)


@dataclass(frozen=True)
class TileSpeed:
    """The speed of the CUDA backend with one tile shape.

    Attributes:
        tile: images of a by images of b at a time, and the maximum of registers per thread if there is one.
        marginals: name of the scheme.
        pairs_per_second: for all pairs of two sets in float16, by the GPU's clock.
    """

    tile: str
    marginals: str
    pairs_per_second: float


def measure_tiles(
    grid: tuple[int, int], dim: int, device: torch.device, images: int = TILED_IMAGES
) -> Iterator[TileSpeed]:
    """The speeds of the CUDA backend with each tile shape worth trying, the default first.

    Args:
        grid: rows and columns of the maps.
        dim: numbers per part.
        device: a GPU.
        images: number of images on each side.

    Raises:
        UsageError: a grid that the backend does not support.
    """
    from diml.matching.kernels import triton_scores
    from diml.matching.kernels.scaled_maps import ScaledMaps

    maps_a, maps_b = (synthetic_maps(images, grid, dim, seed).to(device) for seed in (0, 1))
    rows_a, rows_b = ScaledMaps.of(maps_a), ScaledMaps.of(maps_b)
    for scheme in SCHEMES:
        how = BackendSettings(scheme)
        if reason := triton_scores.unsupported(maps_a.parts, maps_b.parts, maps_a.dtype, how):
            raise UsageError(f"the CUDA kernel cannot match a grid of {grid[0]}x{grid[1]}: {reason}")
        for tile in triton_scores.tiles(maps_a.parts, maps_b.parts):
            name = f"{tile.images_a}x{tile.images_b}" + (f", {tile.registers} registers" if tile.registers else "")
            yield TileSpeed(name, scheme, triton_scores.pairs_per_second(rows_a, rows_b, how, tile))


@contextmanager
def forced(backend: str) -> Iterator[None]:
    """Set DIML_KERNEL within the context."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = backend
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def seconds(work: Callable[[], object], device: torch.device | None = None) -> float:
    """Median duration of a call, after a warm-up call."""
    work()
    taken: list[float] = []
    while len(taken) < RUNS or sum(taken) < SECONDS:
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _wait(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def _rate(work: Callable[[], object], shortlist: Tensor, device: torch.device) -> float:
    return shortlist.numel() / seconds(work, device)


def _exact(matcher: Matcher, queries: FeatureMaps, gallery: FeatureMaps, shortlist: Tensor) -> Tensor:
    tight = matcher.replace(weight=1.0, tolerance=1e-9, max_iterations=10_000)
    return tight.rerank(queries.to(torch.float64), gallery.to(torch.float64), shortlist)
