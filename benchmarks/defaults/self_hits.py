"""How often an image is the best match of itself, by collection and transport, and why where it is not.

    python -m benchmarks.defaults.self_hits --data DATA [--weights uniform]

Each of the first 1,000 gallery images of a test half asks for itself among its shortlist of 100. Entropy spreads every
plan, so a copy whose parts are all alike can score above the image itself. Prints the share of images that find
themselves first, and for those that do not: whether the winner has the same maps (a duplicate), or else its structural
similarity and that of the image with itself, and how far the parts of either differ among themselves (mean cosine of
two parts).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.defaults.choose import SLOW, TRANSPORTS
from benchmarks.defaults.scores import SHORTLIST
from benchmarks.defaults.tasks import NAMES, Fitted, raw_maps
from diml.markdown import table
from diml.matching import Matcher, prepare

# Misses that are listed for each transport of a collection.
LISTED = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--weights", default="uniform")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--share", type=float, default=1.0, help="w, the share of the structural similarity")
    options = parser.parse_args()
    rows, notes = [], []
    for name in NAMES:
        raw = raw_maps(name, options.data, options.cache or options.data / "maps")
        task = Fitted(raw, raw.train).task([not train for train in raw.train], options.weights)
        gallery = task.gallery[: options.images]
        maps = prepare(gallery)
        pooled = maps.pooled @ maps.pooled.mT
        shortlist = pooled.topk(SHORTLIST, dim=1).indices
        alike = _likeness(maps.rows[:, :-1])
        for transport, settings in TRANSPORTS.items():
            if transport == SLOW:
                continue
            matcher = Matcher(weight=options.share, tolerance=1e-4, **settings)  # type: ignore[arg-type]
            scores = matcher.rerank(maps, maps, shortlist)
            own = matcher.pairs(maps, maps, torch.arange(len(maps)), torch.arange(len(maps))).similarity
            best, at = scores.masked_fill(shortlist == torch.arange(len(maps))[:, None], -1).max(dim=1)
            winner = shortlist[torch.arange(len(maps)), at]
            missed = (best > own + 1e-6).nonzero()[:, 0]
            same = [bool((gallery.local[i] - gallery.local[winner[i]]).abs().max() < 1e-2) for i in missed]
            rows.append(
                [name, transport, f"{100 * (1 - len(missed) / len(maps)):.2f}", str(len(missed)), str(sum(same))]
            )
            for i, duplicate in list(zip(missed.tolist(), same, strict=True))[:LISTED]:
                j = int(winner[i])
                notes.append(
                    f"{name}, {transport}: {task.gallery_labels[i]} finds {task.gallery_labels[j]}, "
                    + ("a duplicate" if duplicate else f"{best[i]:.4f} above {own[i]:.4f}")
                    + f"; parts alike {alike[i]:.2f} and {alike[j]:.2f}"
                )
    print(table(["collection", "transport", "finds itself, %", "misses", "of duplicates"], rows, left=2))
    print("\n" + "\n".join(notes))


def _likeness(parts: Tensor) -> Tensor:
    """(n,) the mean cosine of two different parts of an image."""
    r = parts.shape[1]
    return ((parts @ parts.mT).sum(dim=(1, 2)) - r) / (r * (r - 1))


if __name__ == "__main__":
    main()
