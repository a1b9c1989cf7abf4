"""What codes of maps cost and keep: bytes, error and retrieval. Their speed is measured by `benchmarks.code_speed`.

    python -m benchmarks.codes --data DATA [--half train] [--codes int8 pq64 ...]

DATA is as for benchmarks.defaults.choose. The head and the weights are fitted on each training half, centroids on the
maps of 1,000 of its images, as an index does it. With `--half train`, the classes of the training half are cut in two,
and what is fitted on one part is judged on the other, and the other way round: codes are chosen by this. Queries are
as embedded, galleries are what their codes stand for, ranked by pooled vectors and re-ranked by the defaults of an
untrained model on shortlists of 100.

The error is that of the similarity of a query with its shortlist, a mean and a 99th percentile.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.defaults.scores import Quality, Ranking
from benchmarks.defaults.tasks import DIM, NAMES, Fitted, Raw, Task, fold, raw_maps
from diml.feature_maps import FeatureMaps
from diml.markdown import table
from diml.matching import Matcher
from diml.search.codes import Codec, parse_codes

CODES = (
    "float16",
    "int8",
    "int4",
    "pq64",
    "pq32",
    "pq16",
    "pool8+float16",
    "pool8+int8",
    "pool8+pq64",
    "pool8+pq31",
    "pool4+int8",
    "pool4+pq62",
)
WEIGHTS = "norm*rarity"
MATCHER = Matcher(transport="one-sided", weight=0.85)
SAMPLE = 1000


def tasks(raw: Raw, half: str) -> Iterator[tuple[Fitted, Task, list[bool]]]:
    """What is fitted, what is judged, and the images that are fitted on."""
    if half == "test":
        fitted = Fitted(raw, raw.train)
        yield fitted, fitted.task([not train for train in raw.train], WEIGHTS), raw.train
        return
    for part in (0, 1):
        on = [train and fold(label) == part for train, label in zip(raw.train, raw.labels, strict=True)]
        judged = [train and fold(label) != part for train, label in zip(raw.train, raw.labels, strict=True)]
        fitted = Fitted(raw, on)
        yield fitted, fitted.task(judged, WEIGHTS), on


def codec_of(name: str, fitted: Fitted, on: list[bool]) -> Codec:
    parts = fitted.raw.maps.parts
    codec = parse_codes(name, parts, DIM)
    if codec.fitted:
        return codec
    at = torch.tensor(on).nonzero()[:, 0]
    sample = at[torch.randperm(len(at), generator=torch.Generator().manual_seed(0))[:SAMPLE]]
    maps = fitted.maps(sample.sort().values, WEIGHTS)
    return codec.fit(maps.local, maps.weights_or_uniform, "")


def coded(maps: FeatureMaps, codec: Codec) -> FeatureMaps:
    """What an index has of maps."""
    return maps.replace(local=codec.decode(codec.encode(maps.local, maps.weights_or_uniform)))


def judged(task: Task, ranking: Ranking, codec: Codec) -> tuple[Quality, np.ndarray]:
    """The quality of a coded gallery, and by how much similarities with the shortlist change."""
    gallery = coded(task.gallery, codec)
    # The queries are not coded, so the two are different maps, but a query still does not find itself.
    coarse = CodedRanking(task, ranking, gallery)
    weight = MATCHER.weight
    before = (1 - weight) * ranking.pooled + weight * ranking.structural(MATCHER)
    same = CodedRanking(task, ranking, gallery, ranking.shortlist)
    after = (1 - weight) * same.pooled + weight * same.structural(MATCHER)
    return coarse.quality(coarse.structural(MATCHER), weight), (after - before).abs().flatten().numpy()


class CodedRanking(Ranking):
    """The ranking of another form of the gallery's maps."""

    def __init__(self, task: Task, plain: Ranking, gallery: FeatureMaps, shortlist: torch.Tensor | None = None) -> None:
        super().__init__(replace(task, gallery=gallery, same=False))
        self.n_relevant, self.groups = plain.n_relevant, plain.groups
        pooled = self.queries.pooled @ self.gallery.pooled.mT
        if task.same:
            pooled.fill_diagonal_(-torch.inf)
        self.shortlist = pooled.topk(plain.shortlist.shape[1], dim=1).indices if shortlist is None else shortlist
        self.pooled = pooled.gather(1, self.shortlist)
        self.relevant = self.classes[0][:, None] == self.classes[1][self.shortlist]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="where maps are kept between runs; by default DATA/maps")
    parser.add_argument("--half", choices=["train", "test"], default="test")
    parser.add_argument("--codes", nargs="+", default=list(CODES))
    options = parser.parse_args()
    cells: dict[str, list[str]] = {name: [] for name in options.codes}
    errors: dict[str, list[np.ndarray]] = {name: [] for name in options.codes}
    losses: dict[str, list[float]] = {name: [] for name in options.codes}
    for name in NAMES:
        raw = raw_maps(name, options.data, options.cache or options.data / "maps")
        found: dict[str, list[Quality]] = {code: [] for code in options.codes}
        plain: list[Quality] = []
        for fitted, task, on in tasks(raw, options.half):
            ranking = Ranking(task)
            plain.append(ranking.quality(ranking.structural(MATCHER), MATCHER.weight))
            for code in options.codes:
                quality, error = judged(task, ranking, codec_of(code, fitted, on))
                found[code].append(quality)
                errors[code].append(error)
        base = [np.concatenate([getattr(each, what) for each in plain]).mean() for what in ("recall", "precision")]
        for code in options.codes:
            mean = [np.concatenate([getattr(q, what) for q in found[code]]).mean() for what in ("recall", "precision")]
            cells[code].append(f"{100 * mean[0]:.1f} / {100 * mean[1]:.1f}")
            losses[code].append(100 * (mean[0] - base[0]))
    codecs = [codec_of(code, fitted, on) for code in options.codes]
    rows = []
    for code, codec in zip(options.codes, codecs, strict=True):
        error = np.concatenate(errors[code])
        change = f"{np.mean(losses[code]):+.1f} ({min(losses[code]):+.1f})"
        size = f"{codec.bytes:,}"
        rows.append([code, size, f"{error.mean():.4f}", f"{np.quantile(error, 0.99):.3f}", *cells[code], change])
    print(f"The {options.half} halves; Recall@1 / MAP@R in percent.\n")
    header = ["codes", "bytes", "error", "99 %", *NAMES, "Recall@1, mean (least)"]
    print(table(header, rows))


if __name__ == "__main__":
    main()
