"""How the ways in which related works compare two sets of parts rank the benchmark collections, on the same maps.

    python -m benchmarks.related --data DATA [--collections emoji ...]

DATA is as for benchmarks.defaults.choose. Only what needs no training of its own can be had here: each way scores the
same shortlists of 100, which the pooled vectors give, on maps of lite0 with a head fitted on each training half; the
test halves ask and are searched. Every way but the last two weighs all parts of an image alike.

- DIML (Zhao et al. 2021), test time only: full transport, half pooled, with marginals by cross-correlation, as
  published, and uniform ones.
- DeepFace-EMD (Phan and Nguyen 2022): the same with its marginals apc and sc.
- EMD-Corr (Taesiri, Nguyen and Nguyen 2022): the mean similarity of the five pairs of parts that carry most of the
  plan, with marginals by cross-correlation, of a shortlist of 50; its exact plan is replaced by ours.
- MaxSim (Khattab and Zaharia 2020; ColPali, Faysse et al. 2024): each part of the query with its best counterpart.
- here: the defaults of an untrained model; and MaxSim with the same weights of parts and the same share.

Prints Recall@1 / MAP@R in percent, and the paired differences of the defaults from the other rows with 95 % intervals.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.codes import MATCHER, WEIGHTS
from benchmarks.defaults.compare import difference, percent
from benchmarks.defaults.scores import Quality, Ranking
from benchmarks.defaults.tasks import NAMES, Fitted, raw_maps
from diml.markdown import table
from diml.matching import Matcher

HERE = "here: the defaults"
FIVE, FIFTY = 5, 50
# Queries whose plans are held together.
QUERIES = 64


def strongest_pairs(ranking: Ranking) -> Quality:
    """By the mean similarity of the five pairs of parts with the largest flow; only the first fifty are re-ranked."""
    matcher, scores = Matcher("cross_correlation", weight=1.0), []
    a, b = (F.normalize(maps.local, dim=2) for maps in (ranking.task.queries, ranking.task.gallery))
    shortlist = ranking.shortlist[:, :FIFTY]
    for start in range(0, len(shortlist), QUERIES):
        rows = shortlist[start : start + QUERIES]
        i = torch.arange(start, start + len(rows)).repeat_interleave(rows.shape[1])
        j = rows.flatten()
        flows = matcher.plans(ranking.queries, ranking.gallery, i, j).plan.flatten(1)
        strongest = flows.topk(FIVE, dim=1).indices
        local = (a[i] @ b[j].mT).flatten(1).gather(1, strongest)
        scores.append(local.mean(dim=1).reshape(rows.shape))
    behind = ranking.pooled[:, FIFTY:] - 10
    return ranking.quality(torch.cat([torch.cat(scores), behind], dim=1), 1.0)


def best_counterparts(ranking: Ranking) -> Tensor:
    """(q, K): the weighted mean over the query's parts of the similarity with the best part of the other image."""
    task, scores = ranking.task, []
    a, b = (F.normalize(maps.local, dim=2) for maps in (task.queries, task.gallery))
    alpha = task.queries.weights_or_uniform
    for at, row in enumerate(ranking.shortlist):
        scores.append((a[at] @ b[row].mT).amax(dim=2) @ alpha[at])
    return torch.stack(scores)


def ways(fitted: Fitted, test: list[bool]) -> tuple[dict[str, Quality], list[str]]:
    plain, weighted = (Ranking(fitted.task(test, name)) for name in ("uniform", WEIGHTS))

    def diml(marginals: str) -> Quality:
        return plain.quality(plain.structural(Matcher(marginals)), 0.5)

    found = {
        "pooled vectors": plain.quality(),
        "DIML, cross-correlation": diml("cross_correlation"),
        "DIML, uniform": diml("uniform"),
        "DeepFace-EMD, apc": diml("apc"),
        "DeepFace-EMD, sc": diml("sc"),
        "EMD-Corr, five pairs": strongest_pairs(plain),
        "MaxSim": plain.quality(best_counterparts(plain), 1.0),
        "MaxSim, half pooled": plain.quality(best_counterparts(plain), 0.5),
        f"MaxSim, {WEIGHTS}, w {MATCHER.weight:g}": weighted.quality(best_counterparts(weighted), MATCHER.weight),
        HERE: weighted.quality(weighted.structural(MATCHER), MATCHER.weight),
    }
    return found, weighted.groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--collections", nargs="+", default=list(NAMES))
    options = parser.parse_args()
    values: dict[str, list[str]] = {}
    apart: dict[str, list[str]] = {}
    for name in options.collections:
        raw = raw_maps(name, options.data, options.cache or options.data / "maps")
        found, groups = ways(Fitted(raw, raw.train), [not train for train in raw.train])
        for way, quality in found.items():
            values.setdefault(way, []).append(percent(quality))
            if way != HERE:
                apart.setdefault(way, []).append(difference(found[HERE], quality, groups))
    print(table(["ranked by", *options.collections], [[way, *cells] for way, cells in values.items()]))
    print("\nThe defaults, minus:\n")
    print(table(["", *options.collections], [[way, *cells] for way, cells in apart.items()]))


if __name__ == "__main__":
    main()
