"""Which candidates of a shortlist are among the true ten best: pooled vectors against encodings of the parts.

    python -m benchmarks.candidates --data DATA [--collections emoji furniture ...] [--queries 200]

DATA is as for benchmarks.defaults.choose; galleries are the test halves'. The truth is the ranking of every image by
its parts, with the defaults of an untrained model; part queries ask for 2 x 2 cells at random, one-sided. Recall@10 of
the first 50, 100, 200 and 500 candidates, taken by:

- the pooled vector, as an index does it;
- fixed-dimensional encodings of the set of weighted parts (MUVERA, arXiv 2405.19504): the sums of a query's parts, and
  the means of an image's, in each of 8 cells of 10 random partitions, reduced to 128 numbers by principal axes of the
  gallery, and the pooled vector beside them: 256 numbers in all;
- lists of the images that have a part near each of 1,024 centroids (PLAID, arXiv 2205.09707): the best 16 centroids of
  each part of the query, an image counting the best of them for each part, and the pooled similarity;
- the engine's own column of many vectors an image: the sum over the query's parts of the best cosine, all parts alike,
  searched without an index, which is exact; the time of a query is printed;
- one bit for each of 128 randomly rotated numbers of a part (256 bytes an image), from which cosines are estimated
  (Charikar 2002), each part of the query with its best, weighted, and the pooled similarity;
- the sketches of an index (four bits a number, 1,090 bytes an image): the bounds by which `--shortlist proven` reads;
- the pooled vector for 1,000 candidates, of which the upper bound by the parts chooses.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.codes import MATCHER, WEIGHTS
from benchmarks.defaults.tasks import NAMES, Fitted, Task, raw_maps
from diml.markdown import table
from diml.matching import chosen_parts, part_similarity, top_k
from diml.search.codes.product import k_means
from diml.search.codes.sketches import Sketches

CANDIDATES, BEST = (50, 100, 200, 500), 10
BITS, PARTITIONS, REDUCED = 3, 10, 128
LISTS, PROBED = 1024, 16
WIDE = 1000


class Asked:
    """Some queries of a task, whole or in part, and the truth.

    Attributes:
        own: (q,) each query's own place in the gallery, -1 where it is not in it.
        alpha: (q, r) weights of the parts.
        weight: of the structural similarity.
        truth: (q, 10) the best images.
    """

    def __init__(self, task: Task, queries: int, in_part: bool) -> None:
        generator = torch.Generator().manual_seed(0)
        at = torch.randperm(len(task.queries), generator=generator)[:queries]
        self.maps, self.gallery = task.queries[at], task.gallery
        self.own = at if task.same else torch.full_like(at, -1)
        if in_part:
            self.alpha, self.weight = _squares(len(at), task.queries.grid, generator), 1.0
            chosen = [chosen_parts(self.maps[k], self.alpha[k : k + 1]) for k in range(len(at))]
            scores = torch.stack(
                [part_similarity(c, task.gallery, self.alpha[k : k + 1], MATCHER.eps) for k, c in enumerate(chosen)]
            )
            self.truth = self.without_own(scores).topk(BEST, dim=1).indices
        else:
            self.alpha, self.weight = self.maps.weights_or_uniform, MATCHER.weight
            found = top_k(MATCHER, self.maps, task.gallery, BEST + 1).indices
            later = (found == self.own[:, None]).to(torch.int8).argsort(dim=1, stable=True)
            self.truth = found.gather(1, later)[:, :BEST]
        self.units, self.others = F.normalize(self.maps.local, dim=2), F.normalize(task.gallery.local, dim=2)
        pooled = F.normalize((self.alpha[:, :, None] * self.maps.local).sum(dim=1), dim=1)
        self.pooled = pooled @ F.normalize(task.gallery.pooled, dim=1).mT

    def without_own(self, scores: Tensor) -> Tensor:
        rows = (self.own >= 0).nonzero()[:, 0]
        scores = scores.clone()
        scores[rows, self.own[rows]] = -torch.inf
        return scores

    def combined(self, structural: Tensor) -> Tensor:
        return (1 - self.weight) * self.pooled + self.weight * structural

    def recalls(self, scores: Tensor) -> list[float]:
        order = self.without_own(scores).topk(max(CANDIDATES), dim=1).indices
        return [(order[:, :k, None] == self.truth[:, None]).any(dim=1).float().mean().item() for k in CANDIDATES]


def _squares(count: int, grid: tuple[int, int], generator: torch.Generator) -> Tensor:
    """(count, r): equal weights on 2 x 2 cells."""
    corner = torch.stack([torch.randint(cells - 1, (count,), generator=generator) for cells in grid], dim=1)
    weights = torch.zeros(count, *grid)
    for k, (row, column) in enumerate(corner.tolist()):
        weights[k, row : row + 2, column : column + 2] = 0.25
    return weights.flatten(1)


def encoded(asked: Asked) -> Tensor:
    """Scores by encodings of the sets of parts."""
    generator = torch.Generator().manual_seed(0)
    of_queries, of_gallery = [], []
    for _ in range(PARTITIONS):
        planes = torch.randn(asked.units.shape[2], BITS, generator=generator)
        cell_a, cell_b = (((x @ planes > 0) * 2 ** torch.arange(BITS)).sum(dim=2) for x in (asked.units, asked.others))
        a, b = (F.one_hot(cell, 2**BITS).float() for cell in (cell_a, cell_b))
        of_queries.append(torch.einsum("nic,ni,nid->ncd", a, asked.alpha, asked.units).flatten(1))
        beta = asked.gallery.weights_or_uniform
        sums = torch.einsum("nic,ni,nid->ncd", b, beta, asked.others)
        mass = torch.einsum("nic,ni->nc", b, beta)
        means = sums / mass.clamp(min=1e-9)[:, :, None]
        # A cell without a part has the part whose cell differs least from it.
        differ = (cell_b[:, None] ^ torch.arange(2**BITS)[None, :, None]).to(torch.int32)
        bits = torch.stack([(differ >> bit) & 1 for bit in range(BITS)]).sum(dim=0)
        nearest = bits.argmin(dim=2)[:, :, None].expand(-1, -1, asked.others.shape[2])
        of_gallery.append(torch.where(mass[:, :, None] > 0, means, asked.others.gather(1, nearest)).flatten(1))
    queries, gallery = torch.cat(of_queries, dim=1), torch.cat(of_gallery, dim=1)
    torch.manual_seed(0)
    axes = torch.pca_lowrank(gallery, REDUCED, center=False)[2]
    return asked.combined((queries @ axes) @ (gallery @ axes).mT / PARTITIONS)


def listed(asked: Asked, sample: Tensor) -> Tensor:
    """Scores by the centroids nearest to the parts of each image."""
    centroids = F.normalize(k_means(F.normalize(sample, dim=1)[None], LISTS, 10)[0], dim=1)
    lists = (asked.others @ centroids.mT).argmax(dim=2)
    likeness = asked.units @ centroids.mT
    probed = likeness >= likeness.topk(PROBED, dim=2).values[:, :, -1:]
    likeness = torch.where(probed, likeness, torch.zeros(()))
    found = [(asked.alpha[k] @ likeness[k][:, lists].amax(dim=2)) for k in range(len(asked.units))]
    return asked.combined(torch.stack(found))


def by_engine(asked: Asked) -> tuple[Tensor, float]:
    """Scores by the engine's column of many vectors an image, and the median seconds of a query."""
    count, parts, dim = asked.others.shape
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(asked.others.flatten().numpy()), dim)
    starts = pa.array(np.arange(0, count * parts + 1, parts, dtype=np.int32))
    scores, seconds = torch.empty_like(asked.pooled), []
    with tempfile.TemporaryDirectory() as folder:
        rows = pa.table({"at": pa.array(np.arange(count)), "parts": pa.ListArray.from_arrays(starts, vectors)})
        gallery = lancedb.connect(folder).create_table("gallery", rows)
        for k, units in enumerate(asked.units):
            begun = time.perf_counter()
            search: Any = gallery.search(units[asked.alpha[k] > 0].numpy(), vector_column_name="parts")
            found = search.distance_type("cosine").limit(count).to_arrow()
            seconds.append(time.perf_counter() - begun)
            scores[k, torch.from_numpy(found["at"].to_numpy())] = -torch.from_numpy(found["_distance"].to_numpy())
    return scores, statistics.median(seconds)


def by_bits(asked: Asked) -> Tensor:
    """Scores by the signs of randomly rotated parts: the angle of two parts is their share of different signs."""
    dim = asked.units.shape[2]
    rotation = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(0))).Q
    a, b = ((x @ rotation).sign() for x in (asked.units, asked.others))
    found = []
    for k in range(len(a)):
        agreement = torch.einsum("id,njd->nij", a[k], b) / dim  # 1 minus twice the share of different signs
        found.append(torch.sin(agreement * (math.pi / 2)).amax(dim=2) @ asked.alpha[k])
    return asked.combined(torch.stack(found))


def by_sketches(asked: Asked) -> Tensor:
    """The upper bounds of the similarities that the sketches of an index give."""
    gallery, beta = asked.gallery, asked.gallery.weights_or_uniform
    sketches = Sketches(gallery.local.shape[1], gallery.dim)
    sketch = sketches.decode(sketches.encode(gallery, gallery.pooled))
    found = []
    for k, units in enumerate(asked.units):
        chosen = asked.alpha[k] > 0
        likeness = sketch.likeness(units[chosen])
        one_sided = likeness.masked_fill(beta[:, None] == 0, -1).amax(dim=2)
        found.append(one_sided @ asked.alpha[k][chosen])
    return asked.combined(torch.stack(found))


def wide(asked: Asked) -> Tensor:
    """Scores by the bound of the parts, of the candidates that the pooled vector gives."""
    scores = torch.full_like(asked.pooled, -torch.inf)
    for k, candidates in enumerate(asked.without_own(asked.pooled).topk(WIDE, dim=1).indices):
        best = torch.einsum("id,njd->nij", asked.units[k], asked.others[candidates]).amax(dim=2)
        scores[k, candidates] = best @ asked.alpha[k]
    return torch.where(scores.isfinite(), asked.combined(scores), scores)


def rows(name: str, fitted: Fitted, task: Task, queries: int) -> Iterator[list[str]]:
    sample = fitted.sample[torch.randperm(len(fitted.sample), generator=torch.Generator().manual_seed(0))[:32768]]
    for in_part in (False, True):
        asked = Asked(task, queries, in_part)
        engine, seconds = by_engine(asked)
        print(f"<!-- {name}, the engine's many vectors: {1000 * seconds:.0f} ms a query -->", flush=True)
        ways = {
            "pooled": asked.pooled,
            "encodings, 256 numbers": encoded(asked),
            "lists of centroids": listed(asked, sample),
            "the engine's many vectors": engine,
            "bits of the parts": by_bits(asked),
            "sketches": by_sketches(asked),
            f"pooled, {WIDE}, then the bound": wide(asked),
        }
        for way, scores in ways.items():
            numbers = (f"{recall:.3f}" for recall in asked.recalls(scores))
            yield [name, "2 x 2 cells" if in_part else "whole", way, *numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--collections", nargs="+", default=list(NAMES))
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    found: list[list[str]] = []
    for name in options.collections:
        raw = raw_maps(name, options.data, options.cache or options.data / "maps")
        fitted = Fitted(raw, raw.train)
        task = fitted.task([not train for train in raw.train], WEIGHTS)
        found += rows(f"{name}, {len(task.gallery):,}", fitted, task, options.queries)
    print(table(["gallery", "query", "candidates by", *(str(k) for k in CANDIDATES)], found, left=3))


if __name__ == "__main__":
    main()
