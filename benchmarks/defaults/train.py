"""Learned part weights against none: a head, with and without them, trained on each training half.

    python -m benchmarks.defaults.train --data DATA [--seeds 0 1 2] [--epochs 6]

The backbone's maps are fixed, embedded once as for benchmarks.defaults.choose; the head (from the whitening) and the
weights (a 1x1 convolution with softplus) are trained by the margin and by the multi-similarity loss on matched parts,
uniform marginals, w 0.5, so that a run takes a minute on one core. Prints Recall@1 / MAP@R on the test halves, mean and
standard deviation over the seeds, of the pooled vectors and re-ranked shortlists of 100, beside the untrained head.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn

from benchmarks.defaults.scores import Ranking
from benchmarks.defaults.tasks import DIM, NAMES, Fitted, Raw, Task, raw_maps
from diml.embedding.part_weights import Learned
from diml.feature_maps import FeatureMaps
from diml.learning import build_objective
from diml.learning.batches.sampling import ClassBatches
from diml.markdown import table
from diml.matching import Matcher

LOSSES = ("margin", "multisimilarity")
BATCH, PER_CLASS = 112, 4
HEAD_RATE, LOSS_RATE, WEIGHTS_RATE, DECAY = 1e-3, 5e-4, 1e-2, 4e-4
MATCHER = Matcher()


class Parts(nn.Module):
    """The head and the weights, from a backbone's maps to maps that are compared."""

    def __init__(self, fitted: Fitted, weighted: bool) -> None:
        super().__init__()
        self.head = nn.Linear(fitted.raw.maps.dim, DIM)
        self.head.load_state_dict(fitted.head.state_dict())
        self.weights = Learned(DIM) if weighted else None

    def forward(self, maps: FeatureMaps) -> FeatureMaps:
        local = self.head(maps.local.float())
        return FeatureMaps(local, maps.grid, weights=None if self.weights is None else self.weights(local))


def trained(raw: Raw, fitted: Fitted, loss: str, weighted: bool, seed: int, epochs: int) -> Parts:
    torch.manual_seed(seed)
    at = torch.tensor(raw.train).nonzero()[:, 0]
    names = [raw.labels[k] for k in at.tolist()]
    classes = {name: k for k, name in enumerate(dict.fromkeys(names))}
    labels = torch.tensor([classes[name] for name in names])
    parts = Parts(fitted, weighted)
    how = {"marginals": "uniform", "weight": MATCHER.weight, "eps": MATCHER.eps, "weighted": weighted}
    objective = build_objective(
        loss,
        similarity="structural",
        classes=len(classes),
        dim=DIM,
        grid=raw.maps.grid,
        **how,  # type: ignore[arg-type]
    )
    groups = [{"params": parts.head.parameters(), "lr": HEAD_RATE}]
    if parts.weights is not None:
        groups.append({"params": parts.weights.parameters(), "lr": WEIGHTS_RATE})
    if own := list(objective.parameters()):
        groups.append({"params": own, "lr": LOSS_RATE})
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    batches = ClassBatches(names, BATCH, PER_CLASS, seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(batches))
    for epoch in range(epochs):
        batches.set_epoch(epoch)
        for batch in batches:
            optimizer.zero_grad()
            where = torch.tensor(batch)
            objective(parts(raw.maps[at[where]]), labels[where]).backward()
            optimizer.step()
            schedule.step()
    return parts.eval()


@torch.no_grad()
def measured(raw: Raw, parts: Parts) -> tuple[list[float], list[float]]:
    """Recall@1 and MAP@R in percent on the test half: pooled, and re-ranked."""

    def maps(asked: list[bool]) -> tuple[FeatureMaps, list[str]]:
        at = torch.tensor([a and not b for a, b in zip(asked, raw.train, strict=True)]).nonzero()[:, 0]
        pieces = [parts(raw.maps[piece]) for piece in torch.split(at, 512)]
        return FeatureMaps.cat(pieces), [raw.labels[k] for k in at.tolist()]

    queries, gallery = maps(raw.query), maps(raw.gallery)
    ranking = Ranking(Task(*queries, *gallery, same=raw.query == raw.gallery))
    found = ranking.quality(), ranking.quality(ranking.structural(MATCHER), MATCHER.weight)
    pooled, ranked = ([100 * float(q.recall.mean()), 100 * float(q.precision.mean())] for q in found)
    return pooled, ranked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    rows = []
    for name in NAMES:
        raw = raw_maps(name, options.data, options.cache or options.data / "maps", options.grid)
        fitted = Fitted(raw, raw.train)
        pooled, ranked = measured(raw, Parts(fitted, weighted=False))
        rows.append([name, "untrained", "uniform", *(f"{r:.1f} / {p:.1f}" for r, p in (pooled, ranked))])
        print(rows[-1], flush=True)
        for loss in LOSSES:
            for weighted in (False, True):
                runs = [
                    measured(raw, trained(raw, fitted, loss, weighted, seed, options.epochs)) for seed in options.seeds
                ]
                values = np.array(runs)  # (seeds, 2, 2)
                mean, spread = values.mean(axis=0), values.std(axis=0)
                cells = [
                    f"{m[0]:.1f} / {m[1]:.1f} ± {s[0]:.1f} / {s[1]:.1f}" for m, s in zip(mean, spread, strict=True)
                ]
                rows.append([name, loss, "learned" if weighted else "uniform", *cells])
                print(rows[-1], flush=True)
    print("\n" + table(["collection", "loss", "weights", "pooled", "re-ranked"], rows, left=3))


if __name__ == "__main__":
    main()
