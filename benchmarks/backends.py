"""How fast images are embedded by each backend, alone and from files to stored rows, as ratios within one run.

    python -m benchmarks.backends [--model lite0] [--images 480] [--runs 5] [--batch 32]

"before" is the backbone as PyTorch runs it without any preparation. Prints Markdown tables. Run it on an otherwise idle
machine; the ways are timed in turn, and each number is a median.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from diml.data.collection import Collection, open_folder
from diml.embedding import Inference
from diml.model import StructuralModel
from diml.search import Index

SAMPLE = Path(__file__).resolve().parent.parent / "sample" / "emoji"
WAYS = ("before", "torch", "onnx", "openvino")
START = """
import os, sys, time
from benchmarks.service_process import memory_of
from diml.model import StructuralModel
backend, name = sys.argv[1:]
model = StructuralModel.from_pretrained(name).eval()
before, start = memory_of(os.getpid()), time.perf_counter()
if backend != "before":
    model.with_backend(backend).encoder.prepare()
print(time.perf_counter() - start, memory_of(os.getpid()) - before)
"""


class Before(Inference):
    """The backbone itself."""

    def __call__(self, backbone: nn.Module, pixels: Tensor) -> object:
        with torch.no_grad():
            return backbone(pixels)


def with_way(model: StructuralModel, way: str) -> StructuralModel:
    if way == "before":
        return model.replace(encoder=model.encoder.replace(inference=Before()))
    return model.with_backend(way)


def in_turn(works: dict[str, Callable[[], float]], runs: int) -> dict[str, float]:
    """The median of several runs of each, after one that does not count."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for run in range(runs + 1):
        for name, work in works.items():
            value = work()
            if run:
                found[name].append(value)
    return {name: statistics.median(values) for name, values in found.items()}


def forward(model: StructuralModel, batch: int) -> Callable[[], float]:
    encoder = model.encoder
    pixels = torch.rand(batch, 3, *encoder.preprocessing.size)

    def work() -> float:
        start = time.perf_counter()
        for _ in range(max(1, 32 // batch)):
            encoder.inference(encoder.backbone, pixels)
        return max(1, 32 // batch) * batch / (time.perf_counter() - start)

    return work


def indexing(model: StructuralModel, collection: Collection, batch: int) -> Callable[[], float]:
    def work() -> float:
        with tempfile.TemporaryDirectory() as place:
            report = Index.create(Path(place) / "speed.diml", model, dim=0).add(collection, batch_size=batch)
        return report.images_per_second

    return work


def apart(model: StructuralModel, collection: Collection, way: str) -> float:
    """The largest difference of any number of any map, relative to the largest number of that map."""
    files = [collection.file(i) for i in range(64)]
    right, found = with_way(model, "before").encode(files).local, with_way(model, way).encode(files).local
    return ((right - found).abs().amax(dim=(1, 2)) / right.abs().amax(dim=(1, 2))).max().item()


def start(way: str, name: str) -> tuple[float, float]:
    """Seconds and MB until it is ready, in a process of its own; medians of three."""
    runs = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", START, way, name], capture_output=True, text=True, check=True)
        runs.append(tuple(map(float, done.stdout.split()[-2:])))
    return statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite0")
    parser.add_argument("--folder", type=Path, default=SAMPLE)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start, {given.model}\n", flush=True)
    model = StructuralModel.from_pretrained(given.model).with_weights(None).eval()
    collection = open_folder(given.folder)
    ready = {way: with_way(model, way) for way in WAYS}
    for made in ready.values():
        made.encoder.prepare()
    print("Images a second, the backbone alone:\n")
    print("| images at once | " + " | ".join(WAYS) + " |\n|---|" + "---|" * len(WAYS))
    for batch in given.batch:
        rates = in_turn({way: forward(made, batch) for way, made in ready.items()}, given.runs)
        print(f"| {batch} | " + " | ".join(_rate(rates, way) for way in WAYS) + " |", flush=True)
    some = collection.subset(range(min(given.images, len(collection))))
    rates = in_turn({way: indexing(made, some, 32) for way, made in ready.items()}, max(3, given.runs - 2))
    print(f"| files to stored rows, {len(some)} files | " + " | ".join(_rate(rates, way) for way in WAYS) + " |\n")
    print("| | " + " | ".join(WAYS[1:]) + " |\n|---|" + "---|" * len(WAYS[1:]))
    starts = [start(way, given.model) for way in WAYS[1:]]
    print("| seconds until it is ready | " + " | ".join(f"{seconds:.1f}" for seconds, _ in starts) + " |")
    print("| memory that it adds, MB | " + " | ".join(f"{memory:.0f}" for _, memory in starts) + " |")
    print("| largest difference from before | " + " | ".join(f"{apart(model, some, w):.0e}" for w in WAYS[1:]) + " |")


def _rate(rates: dict[str, float], way: str) -> str:
    return f"{rates[way]:.1f} ({rates[way] / rates['before']:.2f})"


if __name__ == "__main__":
    main()
