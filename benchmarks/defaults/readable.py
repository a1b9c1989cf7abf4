"""How much of an account a person can read: what regions carry, what six pairs carry, and what lies on the object.

    python -m benchmarks.defaults.readable --data DATA [--pairs 200] [--weights norm*rarity] [--transport one-sided]

Pairs of a query and a gallery image of its class, from the test halves of the collections in DATA (see
benchmarks.defaults.choose). For the settings before there were weights and for those asked for, prints the median share
of the similarity that the named regions carry, how many pairs of images have 70 % or more in them, the median share of
the six strongest pairs of parts, and the median share between cells of the object, each cell counted by the share of
its area that the true mask covers. The masks are used for nothing else.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.defaults.choose import TRANSPORTS
from benchmarks.defaults.object_masks import coverage, masks_of
from benchmarks.defaults.tasks import NAMES, Fitted, Raw, raw_maps
from diml.data import open_table
from diml.markdown import table
from diml.matching import Match, Matcher


def pairs_of(raw: Raw, count: int) -> Iterator[tuple[int, int]]:
    """Positions of a query and a gallery image of its class, of different images, drawn with a fixed seed."""
    random = np.random.default_rng(0)
    gallery: dict[str, list[int]] = {}
    for at, label in enumerate(raw.labels):
        if raw.gallery[at] and not raw.train[at]:
            gallery.setdefault(label, []).append(at)
    queries = [at for at, asks in enumerate(raw.query) if asks and not raw.train[at]]
    found = 0
    for query in random.permutation(queries).tolist():
        others = [at for at in gallery.get(raw.labels[query], []) if at != query]
        if others and found < count:
            found += 1
            yield query, int(random.choice(others))


def shares(match: Match, on_a: torch.Tensor, on_b: torch.Tensor) -> list[float]:
    """Of the similarity: in named regions, in the six strongest pairs, between cells of the object."""
    total = float(match.similarity)
    contributions = match.contributions[0]
    strongest = float(contributions.flatten().topk(6).values.sum())
    on_object = float((on_a[:, None] * on_b * contributions).sum())
    return [match.regions().carried, strongest / total, on_object / total]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--weights", default="norm*rarity")
    parser.add_argument("--transport", choices=list(TRANSPORTS), default="one-sided")
    parser.add_argument("--share", type=float, default=0.85, help="w, the share of the structural similarity")
    options = parser.parse_args()
    how: dict[str, Any] = {"weight": options.share, **TRANSPORTS[options.transport]}
    settings = {"before": ("uniform", Matcher()), "as asked": (options.weights, Matcher(**how))}
    rows = []
    for name in NAMES:
        folder = options.data / name
        raw = raw_maps(name, options.data, options.cache or options.data / "maps", options.grid)
        paths = open_table(folder / "data.csv").paths
        pairs = list(pairs_of(raw, options.pairs))
        fitted = Fitted(raw, raw.train)
        covered = {at: coverage(masks_of(folder, [paths[at]])[0], options.grid) for pair in pairs for at in pair}
        for words, (weights, matcher) in settings.items():
            a, b = (fitted.maps(torch.tensor([pair[side] for pair in pairs]), weights) for side in (0, 1))
            match = matcher.tight().match(a.to(torch.float64), b.to(torch.float64))
            found = np.array(
                [
                    shares(match[k], covered[i], covered[j])
                    for k, (i, j) in enumerate(pairs)
                    if float(match.similarity[k]) > 0
                ]
            )
            carried, six, on_object = found.T
            rows.append(
                [
                    name,
                    words,
                    f"{100 * np.median(carried):.0f}",
                    f"{100 * (carried >= 0.7 - 1e-9).mean():.0f}",
                    f"{100 * np.median(six):.0f}",
                    f"{100 * np.median(on_object):.0f}",
                    str(len(found)),
                ]
            )
            print(rows[-1], flush=True)
    heads = ["collection", "settings", "in regions", ">= 70 % in regions", "in six pairs", "on the object", "pairs"]
    print("\n" + table(heads, rows, left=2))


if __name__ == "__main__":
    main()
