"""How fast and how right the backends are on this machine: what `diml bench` prints."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.kernels import BACKENDS, SCHEMES, VARIABLE, BackendSettings
from diml.matching.matcher import Matcher

# A measurement runs at least so long, and at least so often.
SECONDS, RUNS = 0.5, 3
# Images on each side of a matrix whose tiles are compared: enough to keep a GPU busy for milliseconds.
TILED_IMAGES = 2048
# Queries whose candidates are matched at a time.
QUERIES = 50
# Kinds of parts of the made-up images, and how much parts of a kind differ: of real images, iterations are like these.
KINDS, NOISE = 12, 1.6


@dataclass(frozen=True)
class Speed:
    """What one backend does.

    Attributes:
        backend: its name; "torch" is the reference.
        marginals: the scheme.
        pairs_per_second: from feature maps to scores.
        ratio: of that to the reference's.
        error: largest difference of a structural similarity to float64 solved to 1e-9, at the tolerance in use.
        missing: why there are no numbers, in words; empty where there are.
    """

    backend: str
    marginals: str
    pairs_per_second: float = 0.0
    ratio: float = 0.0
    error: float = 0.0
    missing: str = ""


def made_up_maps(images: int, grid: tuple[int, int], dim: int, seed: int = 0) -> FeatureMaps:
    """float16 maps of images whose parts come in kinds, so that there is something to match.

    >>> made_up_maps(3, (4, 4), 128)
    FeatureMaps(n=3, grid=4x4, dim=128, torch.float16, cpu)
    """
    random = torch.Generator().manual_seed(seed)
    parts = grid[0] * grid[1]
    kinds = torch.randn(KINDS, dim, generator=random)[torch.randint(KINDS, (images, parts), generator=random)]
    return FeatureMaps((kinds + NOISE * torch.randn(images, parts, dim, generator=random)).half(), grid)


def measure_backends(grid: tuple[int, int], dim: int, candidates: int, device: torch.device) -> Iterator[Speed]:
    """The speeds of the reference and of the backend for that device, for each scheme.

    Args:
        candidates: per query.

    Raises:
        UsageError: a number below 1.
    """
    if min(*grid, dim, candidates) < 1:
        raise UsageError(f"grid {grid}, dim {dim}, candidates {candidates} came; expected numbers of at least 1")
    queries = made_up_maps(QUERIES, grid, dim, seed=1).to(device)
    gallery = made_up_maps(max(candidates, 2 * QUERIES), grid, dim).to(device)
    shortlist = torch.stack([torch.randperm(len(gallery))[:candidates] for _ in range(QUERIES)]).to(device)
    for scheme in SCHEMES:
        matcher = Matcher(scheme)
        exact = _exact(scheme, queries, gallery, shortlist)
        slow = 0.0
        for backend in ("torch", *BACKENDS):
            if backend not in ("torch", device.type):
                yield Speed(backend, scheme, missing=f"not measured: it needs --device {backend}")
                continue
            with forced(backend):
                try:
                    rate = _rate(lambda matcher=matcher: matcher.rerank(queries, gallery, shortlist), shortlist, device)
                except UsageError as error:
                    yield Speed(backend, scheme, missing=str(error))
                    continue
                structural = matcher.replace(weight=1.0).rerank(queries, gallery, shortlist)
            slow = slow or rate
            yield Speed(backend, scheme, rate, rate / slow, float((structural - exact).abs().max()))


@dataclass(frozen=True)
class TileSpeed:
    """What the CUDA backend does with its work cut in one way.

    Attributes:
        tile: images of a by images of b at a time, and the most registers of a thread where that is bounded.
        marginals: the scheme.
        pairs_per_second: of all pairs of two sets in float16, by the GPU's own clock.
    """

    tile: str
    marginals: str
    pairs_per_second: float


def measure_tiles(
    grid: tuple[int, int], dim: int, device: torch.device, images: int = TILED_IMAGES
) -> Iterator[TileSpeed]:
    """The speeds of the CUDA backend for each way to cut its work that is worth trying, the one in use first.

    Args:
        images: on each side.

    Raises:
        UsageError: a grid that the backend cannot take.
    """
    from diml.matching.kernels import triton_scores
    from diml.matching.kernels.scaled_maps import ScaledMaps

    maps_a, maps_b = (made_up_maps(images, grid, dim, seed).to(device) for seed in (0, 1))
    rows_a, rows_b = ScaledMaps.of(maps_a), ScaledMaps.of(maps_b)
    for scheme in SCHEMES:
        how = BackendSettings(scheme)
        if reason := triton_scores.unsupported(maps_a.parts, maps_b.parts, maps_a.dtype, how):
            raise UsageError(f"the CUDA kernel has no tiles for a grid of {grid[0]}x{grid[1]}: {reason}")
        for tile in triton_scores.tiles(maps_a.parts, maps_b.parts):
            name = f"{tile.images_a}x{tile.images_b}" + (f", {tile.registers} registers" if tile.registers else "")
            yield TileSpeed(name, scheme, triton_scores.pairs_per_second(rows_a, rows_b, how, tile))


@contextmanager
def forced(backend: str) -> Iterator[None]:
    """As if DIML_KERNEL were set to it."""
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
    """Median seconds of a call, after one that does not count."""
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


def _exact(scheme: str, queries: FeatureMaps, gallery: FeatureMaps, shortlist: Tensor) -> Tensor:
    matcher = Matcher(scheme, weight=1.0, tolerance=1e-9, max_iterations=10_000)
    return matcher.rerank(queries.to(torch.float64), gallery.to(torch.float64), shortlist)
