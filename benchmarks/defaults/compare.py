"""What the default part weights and transport give on the test halves of the benchmark collections.

    python -m benchmarks.defaults.compare --data DATA [--weights norm*rarity] [--transport one-sided] [--share 0.85]

DATA is as for benchmarks.defaults.choose. The head, and a rarity, are fitted on each training half; queries and
galleries are the test half's. The first table has Recall@1 and MAP@R in percent: of the pooled vectors, uniform and
weighted, of the settings before there were weights (uniform, full transport, w 0.5), and of the settings asked for, on
shortlists of 100 and with every pair matched; the last row is not a model: it weighs the parts by the true masks of the
objects, which shows what weights could reach. The second has the differences of the settings asked for from the other
rows with 95 % intervals, by a bootstrap over classes of the paired differences. The third has all weights by all
transports at that w.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.defaults.choose import SLOW, TRANSPORTS, WEIGHTS
from benchmarks.defaults.object_masks import coverage, masks_of
from benchmarks.defaults.scores import Quality, Ranking
from benchmarks.defaults.tasks import NAMES, Fitted, Task, raw_maps
from diml.data import open_table
from diml.faithfulness.intervals import estimate
from diml.markdown import table
from diml.matching import Matcher

Rows = dict[str, Quality]


def percent(quality: Quality) -> str:
    return f"{100 * quality.recall.mean():.1f} / {100 * quality.precision.mean():.1f}"


def difference(new: Quality, old: Quality, groups: list[str]) -> str:
    """Of Recall@1 and MAP@R, each with its interval."""
    parts = []
    for what in ("recall", "precision"):
        each = estimate(100 * (getattr(new, what) - getattr(old, what)), groups)
        parts.append(f"{each.mean:+.1f} ({each.low:+.1f} to {each.high:+.1f})")
    return ", ".join(parts)


def rows_of(
    fitted: Fitted,
    test: list[bool],
    weights: str,
    matcher: Matcher,
    listed: Sequence[str] = WEIGHTS,
    slow: Sequence[str] | None = None,
) -> tuple[Rows, Rows, list[str]]:
    """The rows of the first table, those of the third, and the class of each query that has an answer.

    Args:
        weights, matcher: as asked.
        listed: the weights of the third table.
        slow: those of them that are measured with the slow transport too; by default uniform and as asked.
    """
    slow = ("uniform", weights) if slow is None else slow
    plain = Ranking(fitted.task(test, "uniform"))
    rankings = {name: Ranking(fitted.task(test, name)) for name in dict.fromkeys([*listed, weights])}
    chosen = rankings[weights]
    first = {
        "pooled, uniform": plain.quality(),
        f"pooled, {weights}": chosen.quality(),
        "re-ranked, uniform, full, w 0.5": plain.quality(plain.structural(Matcher()), 0.5),
        "re-ranked, as asked": chosen.quality(chosen.structural(matcher), matcher.weight),
        "every pair matched, as asked": chosen.exhaustive(matcher),
    }
    third: Rows = {}
    for name in listed:
        ranking = rankings[name]
        for transport, settings in TRANSPORTS.items():
            if transport == SLOW and name not in slow:
                continue
            scores = ranking.structural(Matcher(matcher.marginals, eps=matcher.eps, **settings))  # type: ignore[arg-type]
            third[f"{name}, {transport}"] = ranking.quality(scores, matcher.weight)
    return first, third, chosen.groups


def with_masks(folder: Path, fitted: Fitted, test: list[bool]) -> Task:
    """The task with the share of each cell that the object covers as weights: what no model knows."""
    task, raw = fitted.task(test, "uniform"), fitted.raw
    masks = masks_of(folder, open_table(folder / "data.csv").paths)

    def weights(role: list[bool]) -> torch.Tensor:
        at = [k for k, (judged, has) in enumerate(zip(test, role, strict=True)) if judged and has]
        return torch.stack([coverage(masks[k], raw.maps.grid[0]) for k in at]) + 1e-6

    queries = task.queries.replace(weights=weights(raw.query))
    gallery = queries if task.same else task.gallery.replace(weights=weights(raw.gallery))
    return replace(task, queries=queries, gallery=gallery)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--weights", default="norm*rarity")
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="one-sided")
    parser.add_argument("--marginals", default="uniform")
    parser.add_argument("--eps", type=float, default=0.05)
    parser.add_argument("--share", type=float, default=0.85, help="w, the share of the structural similarity")
    options = parser.parse_args()
    how: dict[str, Any] = {"eps": options.eps, "weight": options.share, **TRANSPORTS[options.transport]}
    matcher = Matcher(options.marginals, **how)
    first: dict[str, list[str]] = {}
    second: dict[str, list[str]] = {}
    third: dict[str, list[str]] = {}
    for name in NAMES:
        raw = raw_maps(name, options.data, options.cache or options.data / "maps", options.grid)
        fitted = Fitted(raw, raw.train)
        every = list(dict.fromkeys([*WEIGHTS, options.weights]))
        rows, others, groups = rows_of(fitted, [not train for train in raw.train], options.weights, matcher, every)
        masked = Ranking(with_masks(options.data / name, fitted, [not train for train in raw.train]))
        rows["re-ranked, true masks as weights, full, w 0.5"] = masked.quality(masked.structural(Matcher()), 0.5)
        asked = rows["re-ranked, as asked"]
        for row, quality in rows.items():
            first.setdefault(row, []).append(percent(quality))
            if quality is not asked:
                second.setdefault(row, []).append(difference(asked, quality, groups))
        for row, quality in others.items():
            third.setdefault(row, []).append(percent(quality))
    print(
        f"As asked: {options.weights}, {options.transport}, {options.marginals} marginals, eps {options.eps:g}, "
        f"w {options.share:g}. Recall@1 / MAP@R.\n"
    )
    print(table(["", *NAMES], [[row, *cells] for row, cells in first.items()]))
    print("\nRe-ranked as asked, minus:\n")
    print(table(["", *NAMES], [[row, *cells] for row, cells in second.items()]))
    print("\nBy weights and transport:\n")
    print(table(["", *NAMES], [[row, *cells] for row, cells in third.items()]))


if __name__ == "__main__":
    main()
