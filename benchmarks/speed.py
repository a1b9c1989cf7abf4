"""The main job's speed, as ratios of two things measured in one run, each the median of several.

    python benchmarks/speed.py [--images FOLDER] [--runs 5]

Prints a Markdown table. Run it on an otherwise idle machine: absolute times mean little, the ratios more.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from diml.data.collection import open_folder
from diml.matching import prepare
from diml.model import StructuralModel
from diml.search import Index

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "sample"


def seconds(work: Callable[[], object], runs: int) -> list[float]:
    """Wall time of several runs, after one that does not count."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return times


def row(what: str, value: float, unit: str, bound: str) -> None:
    print(f"| {what} | {value:.3g} {unit} | {bound} |", flush=True)


def indexing(folder: Path, runs: int) -> None:
    """Indexing against the bare backbone's forward pass on ready tensors, in turn."""
    model = StructuralModel.from_pretrained("lite0").with_weights(None).with_matcher(transport="full", weight=0.5)
    images = len(open_folder(folder))
    backbone, ready = model.encoder.backbone, torch.rand(32, 3, 224, 224)
    ratios, rates = [], []
    for _ in range(runs + 1):
        with tempfile.TemporaryDirectory() as place:
            report = Index.create(Path(place) / "speed.diml", model, dim=0).add(folder)
        start = time.perf_counter()
        with torch.no_grad():
            for _ in range(-(-images // 32)):
                backbone(ready)
        bare = 32 * -(-images // 32) / (time.perf_counter() - start)
        ratios.append(report.images_per_second / bare)
        rates.append(report.images_per_second)
    row(f"indexing {images} images / bare backbone", statistics.median(ratios[1:]), "", ">= 0.85")
    row("indexing", statistics.median(rates[1:]), "images/s", "")


def reranking(folder: Path, runs: int) -> None:
    """Re-ranking 100 candidates from stored maps against embedding the query."""
    model = StructuralModel.from_pretrained("lite0").with_weights(None).with_matcher(transport="full", weight=0.5)
    collection = open_folder(folder)
    files = [collection.file(i) for i in range(len(collection))]
    model.fit_head(files[:300], dim=128)
    stored = model.encode(files[:100]).to(torch.float16)
    query = model.encode(files[0])
    shortlist = torch.arange(len(stored))[None]
    embed = statistics.median(seconds(lambda: model.encode(files[0]), 5 * runs))
    rerank = statistics.median(seconds(lambda: model.matcher.rerank(query, prepare(stored), shortlist), 5 * runs))
    row(f"re-ranking {len(stored)} candidates / embedding the query", rerank / embed, "", "<= 0.2")
    row("embedding the query", embed * 1000, "ms", "")
    row("re-ranking", rerank * 1000, "ms", "")


def commands(a: Path, b: Path, runs: int) -> None:
    """Whole commands, from the start of Python to the last line printed."""
    diml = [str(Path(sys.executable).parent / "diml")]

    def call(*arguments: str) -> float:
        return statistics.median(
            seconds(lambda: subprocess.run([*diml, *arguments], check=True, capture_output=True), runs)
        )

    row("diml --help", call("--help"), "s", "< 0.3")
    row("python -c 'import torch', for comparison", _import_torch(runs), "s", "")
    with tempfile.TemporaryDirectory() as place:
        row(
            "diml explain of two photographs, with a picture",
            call("explain", str(a), str(b), "--out", f"{place}/x.png"),
            "s",
            "< 8",
        )


def _import_torch(runs: int) -> float:
    return statistics.median(seconds(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True), runs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, default=SAMPLE / "emoji")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, medians of {options.runs} runs\n")
    print("| what | measured | wanted |\n|---|---|---|")
    commands(SAMPLE / "photos" / "chelsea.jpg", SAMPLE / "photos" / "coffee.jpg", options.runs)
    reranking(options.images, options.runs)
    indexing(options.images, options.runs)


if __name__ == "__main__":
    main()
