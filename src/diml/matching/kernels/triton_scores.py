"""The CUDA backend: scores of many pairs by one fused Triton kernel, from two maps to scores in registers.

The work for a pair of r parts of dim d each that takes n iterations:

- arithmetic: `2 r r d` operations for the local similarities and `8 r d` for the correlations, on tensor cores; `4
  r r` for an iteration (K times a vector, twice) and about `6 r` in addition, on ordinary cores. At r = 16, d = 128,
  n = 20: 82 k and 22 k, so that 60 T float32 operations per second allow at most 2.7 G pairs per second.
- memory: without reuse `2 (r + 1) d` numbers per pair, 8.7 KB in half precision. A program matches a tile of images
  of a with a strip of images of b, and programs that run together use the same strip, which stays in the L2 cache. So
  each map of a is read from memory once per strip, 17 bytes per pair at strips of 256, and 13 bytes of scores per pair
  are written. From the cache three quarters of a map per pair are read at tiles of 4 x 2: 3.3 KB.
- instructions: at r = 16, 38 of a warp for one iteration of a pair (cross-correlation) and about 240 for the rest of
  the pair, counted in the code compiled for sm_90. A tile iterates until its slowest pair is done; if this takes 30
  iterations, a pair costs 1,400 instructions, and the 920 G per second that an H200 can issue allow 660 M pairs per
  second. This is an upper limit, not a forecast. The compiler uses all 255 registers of a lane and spills some of S,
  outside the loop of iterations. A one-sided transport has none.

None of this has been run on a GPU: the arithmetic is tested through Triton's interpreter, the code is compiled for
sm_90, and the choices of tiles, strips and warps are guesses from these counts. `pairs_per_second` measures the speed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching.kernels import SCHEMES, BackendScores, BackendSettings, PartWeights, checked_indices
from diml.matching.kernels.scaled_maps import TYPES, ScaledMaps
from diml.matching.kernels.triton_kernels import listed, matrix

MAX_PARTS = 64
# Transports that are compiled into the kernel.
TRANSPORTS = ("full", "one-sided", "dustbin")
# Images of b that a program processes: many, so that maps of a are read rarely, but fewer if there would be too few
# programs to keep a GPU busy (an H200 runs 1056 at once).
STRIP, PROGRAMS = 256, 8192
# Local similarities of a tile: 2048 occupy 64 registers of each lane of a warp, which needs about as many in addition.
AREA = 2048


AnyMaps = FeatureMaps | Tensor | ScaledMaps


@dataclass(frozen=True)
class TileShape:
    """How the work is divided. It does not affect the scores.

    Attributes:
        images_a, images_b: images that a program matches at a time; 1, 2, 4 or 8 and 1, 2 or 4.
        registers: maximum per thread; None leaves it to the compiler. With fewer, more programs run together.
    """

    images_a: int
    images_b: int
    registers: int | None = None


def tiles(parts_a: int, parts_b: int) -> list[TileShape]:
    """Tiles worth trying, the default first. Chosen for an H200 by counting instructions, not by measuring time."""
    room = AREA // (_padded(parts_a) * _padded(parts_b))
    shapes = {8: [(4, 2), (2, 2), (2, 4), (8, 1)], 4: [(2, 2), (4, 1)], 2: [(2, 1), (1, 1)]}.get(room, [(1, 1)])
    return [TileShape(*shape) for shape in shapes] + [TileShape(*shapes[0], registers=168)]


def unsupported(parts_a: int, parts_b: int, dtype: torch.dtype, settings: BackendSettings) -> str | None:
    """Why the kernel cannot do this, in words that can follow "because"; None if it can."""
    if max(parts_a, parts_b) > MAX_PARTS:
        return f"maps have {max(parts_a, parts_b)} parts and the kernel holds at most {MAX_PARTS}"
    if dtype not in TYPES:
        return f"the rows are {dtype}"
    if settings.scheme not in SCHEMES:
        return f"marginals {settings.scheme!r} are not built into it"
    if settings.transport not in TRANSPORTS:
        return f"the transport {settings.transport!r} is not built into it"
    return None


def score_pairs(
    rows_a: AnyMaps,
    rows_b: AnyMaps,
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
) -> BackendScores:
    """Scores of the pairs (a[i_k], b[j_k]), each (p,), with the weights of the parts of all images of a and b.

    A pair whose range of costs is too wide for float32 (range / eps > 80), or not finite, gets `iterations` -1,
    `converged` False and a structural similarity of NaN: the reference has to solve it.

    Raises:
        UsageError: what `unsupported` says, maps of different dims, or weights of another shape than their maps.
        IndexError: an index out of range.
    """
    a, b = ScaledMaps.of(rows_a), ScaledMaps.of(rows_b)
    return _lists(a, b, i, j.reshape(-1, 1), settings, weights, TileShape(1, 1))


def bound_pairs(
    rows_a: AnyMaps,
    rows_b: AnyMaps,
    i: Int[Tensor, " p"],
    j: Int[Tensor, " p"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]]:
    """Upper bounds of the structural similarity of `score_pairs`, and the pooled similarity, each (p,).

    The last half-step of an iteration meets the columns, so the bound is `sum_j mu_b_j max_i S_ij`; with a dustbin,
    whose price is c, `sum_j mu_b_j max(c, max_i S_ij)`. One-sided, the rows are met: `sum_i mu_a_i max_j S_ij`.
    """
    a, b = ScaledMaps.of(rows_a), ScaledMaps.of(rows_b)
    scores = _lists(a, b, i, j.reshape(-1, 1), settings, weights, TileShape(1, 1), bounds_only=True)
    return scores.structural, scores.pooled


def score_shortlists(
    rows_a: AnyMaps,
    rows_b: AnyMaps,
    shortlist: Int[Tensor, "q k"],
    settings: BackendSettings,
    weights: PartWeights | None = None,
    *,
    tile: TileShape | None = None,
) -> BackendScores:
    """Scores of every image of a with the images of b on its shortlist, each (q, K); as `score_pairs`, and cheaper.

    Four candidates are matched at a time, so that they share the query's map and most sums stay within a lane.
    """
    a, b = ScaledMaps.of(rows_a), ScaledMaps.of(rows_b)
    if tile is None:
        tile = TileShape(1, min(4, max(1, AREA // (_padded(a.parts.shape[1]) * _padded(b.parts.shape[1])))))
    return _lists(a, b, None, shortlist, settings, weights, tile)


def score_matrix(
    rows_a: AnyMaps,
    rows_b: AnyMaps,
    settings: BackendSettings,
    weights: PartWeights | None = None,
    *,
    tile: TileShape | None = None,
) -> BackendScores:
    """Scores of all pairs, each (n, m); as `score_pairs`. 13 bytes a pair: call it for blocks of a where m is large.

    If both are the same object, with the same weights, each unordered pair is solved once, with the lower index first.
    A one-sided transport is not symmetric, so all pairs are solved then.
    """
    a = ScaledMaps.of(rows_a)
    b = a if rows_b is rows_a else ScaledMaps.of(rows_b)
    tile = tile or tiles(a.parts.shape[1], b.parts.shape[1])[0]
    out = _empty((len(a), len(b)), a.parts.device)
    tiles_a, strip = triton.cdiv(len(a), tile.images_a), STRIP
    while strip > 8 and tiles_a * triton.cdiv(len(b), strip) < PROGRAMS:
        strip //= 2
    programs = tiles_a * triton.cdiv(len(b), strip)
    symmetric = b is a and settings.transport != "one-sided" and (weights is None or _same(weights))
    if programs:
        arguments, options = _arguments(a, b, settings, weights, tile, LISTED_A=False, LISTED_B=False, BOUNDS=False)
        with _device(a.parts.device):
            matrix[(programs,)](*arguments, *out, len(a), len(b), strip, UPPER=symmetric, **options)
    structural, pooled, iterations, converged = out
    if symmetric:
        structural, pooled, iterations, converged = (_mirrored(x) for x in out)
    return BackendScores(structural, pooled, iterations, converged.bool())


def pairs_per_second(
    rows_a: AnyMaps, rows_b: AnyMaps, settings: BackendSettings, tile: TileShape | None = None, seconds: float = 1.0
) -> float:
    """Pairs per second of `score_matrix`, by the GPU's clock: the median of many runs after a warm-up.

    The time to make `ScaledMaps`, once per set of images, is not included. Needs a GPU.
    """
    a, b = ScaledMaps.of(rows_a), ScaledMaps.of(rows_b)
    milliseconds: float = triton.testing.do_bench(
        lambda: score_matrix(a, b, settings, tile=tile), rep=int(1000 * seconds), return_mode="median"
    )
    return len(a) * len(b) / (milliseconds / 1000)


def _lists(
    a: ScaledMaps,
    b: ScaledMaps,
    i: Tensor | None,
    candidates: Tensor,
    settings: BackendSettings,
    weights: PartWeights | None,
    tile: TileShape,
    bounds_only: bool = False,
) -> BackendScores:
    """Scores of the candidates in row l with image i[l] of a, or with image l if i is None."""
    device = a.parts.device
    candidates = checked_indices(candidates.to(device), len(b))
    out = _empty(tuple(candidates.shape), device)
    lists, length = candidates.shape
    programs = lists * triton.cdiv(length, tile.images_b)
    if programs:
        index_a = candidates if i is None else checked_indices(i.to(device), len(a))
        lists_ = {"LISTED_A": i is not None, "LISTED_B": True, "BOUNDS": bounds_only}
        arguments, options = _arguments(a, b, settings, weights, tile, **lists_)
        with _device(device):
            listed[(programs,)](*arguments, *out, index_a, candidates, length, **options)
    structural, pooled, iterations, converged = (x if i is None else x.reshape(-1) for x in out)
    return BackendScores(structural, pooled, iterations, converged.bool())


def _arguments(
    a: ScaledMaps,
    b: ScaledMaps,
    settings: BackendSettings,
    weights: PartWeights | None,
    tile: TileShape,
    **lists: bool,
) -> tuple[list[object], dict[str, object]]:
    """The arguments of both kernels: tensors and numbers by position, compile-time constants by name."""
    (r_a, dim), (r_b, dim_b) = a.parts.shape[1:], b.parts.shape[1:]
    dtype = torch.promote_types(a.parts.dtype, b.parts.dtype)
    if reason := unsupported(r_a, r_b, dtype, settings):
        raise UsageError(f"the CUDA kernel cannot match these maps because {reason}; DIML_KERNEL=torch can")
    if dim != dim_b:
        raise UsageError(f"expected maps of one dim, got dim {dim} and dim {dim_b}; embed both with the same model")
    block = min(max(16, triton.next_power_of_2(dim)), 32 if dtype == torch.float32 else 64)
    arguments: list[object] = []
    given_a, given_b = weights or (None, None)
    for rows, given in ((a, given_a), (b, given_b)):
        parts = rows.parts.to(dtype)
        arguments += [parts, rows.scale, rows.pooled]
        arguments += [None if given is None else _checked_weights(given, rows), parts.stride(0)]
    numbers = (float(settings.tolerance), settings.max_iterations, float(settings.bin_similarity))
    arguments += [dim, 1 / (settings.eps * math.log(2)), *numbers]
    constants: dict[str, object] = {
        "R_A": r_a, "R_B": r_b, "PAD_A": _padded(r_a), "PAD_B": _padded(r_b),
        "IMAGES_A": tile.images_a, "IMAGES_B": tile.images_b,
        "CROSS": settings.scheme == "cross_correlation", "WEIGHTED": weights is not None,
        "TRANSPORT": settings.transport, "NARROW": 2 / settings.eps <= 80,
        "BLOCK": block, "EVEN": dim % block == 0,
        # Three tensor-core products of ten-bit halves: the precision of float32 except for the last bit or two.
        "PRECISION": "tf32x3" if dtype == torch.float32 else "ieee",
        # One warp: its lanes need no barrier, and few pairs wait for the slowest one of their tile.
        "num_warps": 1, "num_stages": 2, "maxnreg": tile.registers, "enable_fp_fusion": True,
    }  # fmt: skip
    return arguments, constants | lists


def _checked_weights(weights: Tensor, rows: ScaledMaps) -> Float[Tensor, "n r"]:
    """Weights as the kernel reads them, which does not check their shape."""
    expected = tuple(rows.parts.shape[:2])
    if weights.shape != expected:
        raise UsageError(
            f"expected weights of shape {expected}, one for each part of each image, got {tuple(weights.shape)}"
        )
    return weights.detach().to(rows.parts.device, torch.float32).contiguous()


def _same(weights: PartWeights) -> bool:
    return weights.a is weights.b or torch.equal(weights.a, weights.b)


def _padded(parts: int) -> int:
    return max(16, int(triton.next_power_of_2(parts)))


def _empty(shape: tuple[int, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.zeros(shape, dtype=torch.float32, device=device),
        torch.zeros(shape, dtype=torch.float32, device=device),
        torch.zeros(shape, dtype=torch.int32, device=device),
        torch.zeros(shape, dtype=torch.int8, device=device),
    )


def _mirrored(upper: Tensor) -> Tensor:
    return upper.triu() + upper.triu(1).mT


def _device(device: torch.device) -> torch.cuda.device:
    """Triton launches on the current device; -1 (a CPU's, in the interpreter) changes nothing."""
    return torch.cuda.device(device if device.type == "cuda" else -1)
