"""How many pairs of an index are alike, and how long it takes to find them: counted and timed on a sample."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.matching import UnitMaps
from diml.search.pairs.candidates import numbers_in

if TYPE_CHECKING:
    from diml.search.pairs.pairs import Pairs

# Images that are compared with all others, candidates among them that are tried, and pairs of these that are solved.
SAMPLE, TRIED, SOLVED = 512, 4096, 512


@dataclass(frozen=True)
class PairsEstimate:
    """What to expect of `Pairs`, extrapolated from a sample.

    Attributes:
        images: that are compared; exact.
        candidates: pairs that the pooled vectors alone do not exclude.
        found: pairs that are at least so similar.
        seconds: to find them all, on this machine as busy as it is.
    """

    images: int
    candidates: int
    found: int
    seconds: float


def estimated(pairs: Pairs) -> PairsEstimate:
    """See `Pairs.estimate`."""
    images = len(pairs.vectors)
    if images < 2:
        return PairsEstimate(images, 0, 0, 0.0)
    random = torch.Generator().manual_seed(0)
    sample = torch.randperm(images, generator=random)[:SAMPLE].sort().values
    # A pair has two images that may be in the sample.
    scale = images / (2 * len(sample))
    start = time.perf_counter()
    number, i, j = _candidates(pairs, sample, random)
    seconds = scale * (time.perf_counter() - start)
    if not number:
        return PairsEstimate(images, 0, 0, seconds)
    candidates = number * scale
    chosen = numbers_in(i, j)
    start = time.perf_counter()
    maps = pairs.blocks.few(chosen)
    units = pairs.units(chosen, maps)
    seconds += (time.perf_counter() - start) * pairs.blocks.reads / len(chosen)
    found, spent = _tried(pairs, chosen, maps, units, i, j)
    share = candidates / len(i)
    return PairsEstimate(images, round(candidates), round(found * share), seconds + spent * share)


def _candidates(
    pairs: Pairs, sample: Int[Tensor, " m"], random: torch.Generator
) -> tuple[int, Int[Tensor, " p"], Int[Tensor, " p"]]:
    """How many candidates have an image of the sample (two, counted twice), and some of them, each as likely."""
    pooled, least, side = pairs.vectors.pooled, pairs.sieve.least_pooled, pairs.blocks.side
    number, kept = 0, torch.empty(0, dtype=torch.float64)
    i = j = torch.empty(0, dtype=torch.int64)
    for start in range(0, len(pooled), side):
        near = pooled[sample] @ pooled[start : start + side].mT >= least
        near &= sample[:, None] != torch.arange(start, start + near.shape[1])
        at, other = near.nonzero(as_tuple=True)
        number += len(at)
        i, j = torch.cat([i, sample[at]]), torch.cat([j, other + start])
        kept, best = torch.cat([kept, torch.rand(len(at), generator=random, dtype=torch.float64)]).sort()
        kept, i, j = kept[:TRIED], i[best[:TRIED]], j[best[:TRIED]]
    return number, torch.minimum(i, j), torch.maximum(i, j)


def _tried(
    pairs: Pairs, images: Int[Tensor, " k"], maps: FeatureMaps, units: UnitMaps, i: Tensor, j: Tensor
) -> tuple[float, float]:
    """How many of some candidates are found, and the seconds that it takes; `maps` and `units` are of `images`."""
    sieve, at_i, at_j = pairs.sieve, torch.searchsorted(images, i), torch.searchsorted(images, j)
    sieve.not_bounded(units, at_i[:1], at_j[:1])  # the first calls load compiled code
    sieve.undecided(units, at_i[:1], at_j[:1])
    start = time.perf_counter()
    for passes in (sieve.not_bounded, sieve.undecided):
        keep = passes(units, at_i, at_j)
        i, j, at_i, at_j = i[keep], j[keep], at_i[keep], at_j[keep]
    seconds = time.perf_counter() - start
    if not len(i):
        return 0.0, seconds
    share = max(1.0, len(i) / SOLVED)
    i, j, at_i, at_j = i[:SOLVED], j[:SOLVED], at_i[:SOLVED], at_j[:SOLVED]
    start = time.perf_counter()
    found = sum(pair.similarity >= pairs.above for pair in pairs.solved(maps[at_i], maps[at_j], i, j))
    return share * found, seconds + share * (time.perf_counter() - start)
