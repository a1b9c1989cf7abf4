"""A training step on matched parts, as ratios to the published ways of it: time, memory, and the same values.

    python benchmarks/training_step.py [--batch 112] [--runs 7] [--threads N]

Prints a Markdown table. A step is forward and backward of the loss alone, from feature maps (4x4 parts of 128 numbers)
to their gradient, the triplets being given; ways take turns, so that every ratio is of medians in one run. Run it on an
otherwise idle machine. Memory is what the process needs at most beyond what it held before, each way in a process of
its own.

The published ways are written from their description (Zhao et al. 2021), not from their code:

- Margin: a loop over triplets, for either pair of a triplet a Sinkhorn of its own, until the scaling changes by less
  than 0.1 on average;
- Multi-similarity: the maps expanded to all batch^2 pairs, one Sinkhorn for all of them, stopped by the mean change.

Values are compared where both have converged: the published stop leaves them at different plans.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.learning.losses.margin import Margin, margin_loss
from diml.learning.losses.multi_similarity import MultiSimilarity
from diml.matching import Matcher
from diml.matching.speed import synthetic_maps

EPS, GRID, DIM = 0.05, (4, 4), 128
Step = Callable[[Tensor], Tensor]


def published_plan(similarity: Tensor, mu_a: Tensor, mu_b: Tensor, change: float, limit: int) -> Tensor:
    """(n, r, r) plans by scaling, all of them stopped by the mean change of the scaling over the whole batch."""
    kernel = torch.exp((similarity - 1) / EPS)
    u, v = torch.ones_like(mu_a), torch.ones_like(mu_b)
    for _ in range(limit):
        before = u
        u = mu_a / (kernel * v[:, None, :]).sum(dim=2)
        v = mu_b / (kernel * u[:, :, None]).sum(dim=1)
        if (u - before).abs().mean() < change:
            break
    return u[:, :, None] * kernel * v[:, None, :]


def published_pairs(a: Tensor, b: Tensor, distance: bool, change: float, limit: int) -> Tensor:
    """(n,) distances or similarities of the maps a (n, r, d) with b, one by one, the plan without a gradient."""
    pooled_a, pooled_b = (F.normalize(x.mean(dim=1), dim=-1) for x in (a, b))
    a, b = (F.normalize(x, dim=-1) for x in (a, b))
    similarity, pooled = a @ b.mT, (pooled_a * pooled_b).sum(dim=-1)
    with torch.no_grad():
        mu_a = (a * pooled_b[:, None]).sum(dim=-1).relu() + 1e-12
        mu_b = (b * pooled_a[:, None]).sum(dim=-1).relu() + 1e-12
        mu_a, mu_b = (mu / mu.sum(dim=1, keepdim=True) for mu in (mu_a, mu_b))
        plan = published_plan(similarity, mu_a, mu_b, change, limit)
    if distance:
        similarity, pooled = ((2 - 2 * x + 1e-6).sqrt() for x in (similarity, pooled))
    return (plan * (similarity + pooled[:, None, None])).sum(dim=(1, 2)) / 2


class Steps:
    """The four steps, on the same maps, classes and triplets.

    Args:
        batch: images, two of every class.
        converged: with plans that are converged, to compare values, else with the stop of either way.
    """

    def __init__(self, batch: int, converged: bool = False) -> None:
        self.maps = synthetic_maps(batch, GRID, DIM).local.float()
        self.labels = torch.arange(batch) // 2
        self.change, self.limit = (1e-9, 2000) if converged else (0.1, 100)
        matcher = Matcher("cross_correlation", tolerance=1e-6 if converged else 1e-3, max_iterations=5000)
        self.margin, self.multi = Margin(batch // 2, matcher), MultiSimilarity(matcher)
        self.beta = torch.full((batch // 2,), 1.2)
        torch.manual_seed(0)
        triplets = self.margin.triplets(self.maps.mean(dim=1), self.labels)
        self.triplets = triplets
        self.margin.triplets = lambda pooled, labels: triplets  # type: ignore[method-assign]

    def published_margin(self, local: Tensor) -> Tensor:
        to_positive: list[Tensor] = []
        to_negative: list[Tensor] = []
        for anchor, positive, negative in zip(*(index.tolist() for index in self.triplets), strict=True):
            for other, found in ((positive, to_positive), (negative, to_negative)):
                found.append(published_pairs(local[anchor][None], local[other][None], True, self.change, self.limit))
        beta = self.beta[self.labels[self.triplets[0]]]
        return margin_loss(torch.cat(to_positive), torch.cat(to_negative), beta, 0.2)

    def diml_margin(self, local: Tensor) -> Tensor:
        found: Tensor = self.margin(FeatureMaps(local, GRID), self.labels)
        return found

    def published_multisimilarity(self, local: Tensor) -> Tensor:
        n, r, d = local.shape
        a = local[:, None].expand(n, n, r, d).reshape(n * n, r, d)
        b = local[None].expand(n, n, r, d).reshape(n * n, r, d)
        similarity = published_pairs(a, b, False, self.change, self.limit).view(n, n)
        same = self.labels[:, None] == self.labels
        itself = torch.eye(n, dtype=torch.bool)
        losses = []
        for i in range(n):
            positives, negatives = similarity[i][same[i] & ~itself[i]], similarity[i][~same[i]]
            hard_positives = positives[positives - 0.1 < negatives.max()]
            hard_negatives = negatives[negatives + 0.1 > positives.min()]
            near = torch.log(1 + torch.exp(-2 * (hard_positives - 0.5)).sum()) / 2
            far = torch.log(1 + torch.exp(40 * (hard_negatives - 0.5)).sum()) / 40
            losses.append(near + far)
        return torch.stack(losses).mean()

    def diml_multisimilarity(self, local: Tensor) -> Tensor:
        found: Tensor = self.multi(FeatureMaps(local, GRID), self.labels)
        return found

    def run(self, way: str) -> tuple[float, Tensor]:
        """The loss, and its gradient by the maps."""
        local = self.maps.clone().requires_grad_()
        step: Step = getattr(self, way)
        loss = step(local)
        torch.autograd.backward(loss)
        assert local.grad is not None
        return loss.item(), local.grad


PAIRS = {
    "Margin, mined pairs": ("published_margin", "diml_margin"),
    "Multi-similarity, all pairs": ("published_multisimilarity", "diml_multisimilarity"),
}


def medians(ways: tuple[str, ...], batch: int, runs: int) -> list[float]:
    """Median seconds of a step each way, the ways taking turns, after one turn that does not count."""
    steps = Steps(batch)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(runs + 1):
        for way in ways:
            start = time.perf_counter()
            steps.run(way)
            if turn:
                times[way].append(time.perf_counter() - start)
    return [statistics.median(times[way]) for way in ways]


def memory(way: str, batch: int) -> None:
    """Print by how many MB the process grew at its largest, beyond a step on a batch of 4 that warms it up."""
    Steps(4).run(way)
    steps = Steps(batch)
    Path("/proc/self/clear_refs").write_text("5")  # the largest so far is from here on the largest from now on
    before = held("VmRSS")
    steps.run(way)
    print(json.dumps(held("VmHWM") - before))


def held(what: str) -> float:
    """MB of this process: VmRSS now, VmHWM at most (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(what))


def grown(way: str, batch: int) -> float:
    command = [sys.executable, __file__, "--batch", str(batch), "--memory-of", way]
    return float(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def agreement(ways: tuple[str, str], batch: int) -> tuple[float, float]:
    """The relative difference of the losses, and of their gradients, where both have converged."""
    steps = Steps(batch, converged=True)
    (one, one_gradient), (other, other_gradient) = (steps.run(way) for way in ways)
    return abs(one - other) / abs(one), float((one_gradient - other_gradient).norm() / one_gradient.norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=112)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        memory(options.memory_of, options.batch)
        return
    print(f"Batch {options.batch}, {torch.get_num_threads()} threads, torch {torch.__version__}.\n")
    print("| step | published | diml | ratio | memory, published | memory, diml | loss differs by | gradient by |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    for name, ways in PAIRS.items():
        published, ours = medians(ways, options.batch, options.runs)
        theirs, needed = (grown(way, options.batch) for way in ways)
        loss, gradient = agreement(ways, min(options.batch, 32))
        print(
            f"| {name} | {published * 1000:.0f} ms | {ours * 1000:.1f} ms | {published / ours:.1f} | {theirs:.0f} MB | "
            f"{needed:.0f} MB | {loss:.0e} | {gradient:.0e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
