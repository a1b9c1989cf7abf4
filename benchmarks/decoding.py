"""How much faster large JPEGs are read and indexed at a part of their size, and how far that moves their maps.

    python -m benchmarks.decoding [--photographs FOLDER] [--images 24] [--megapixels 12] [--runs 5]

"full" decodes all pixels (decoding 2), "drafted" at 1/2, 1/4 or 1/8 of the size (decoding 3). Photographs, by default
those of sample/photos, are enlarged to so many megapixels, cropped a little in another way each, and saved as JPEGs of
quality 92. Enlarged photographs are smooth, so their files are smaller than those of a camera, and decoded sooner.
Prints Markdown tables. Run it on an otherwise idle machine; full and drafted are timed in turn, and each number is a
median.

    python -m benchmarks.decoding --apart FOLDER [--recall]

compares the maps of the JPEGs of a folder as they are, in place of the first two tables, and with --recall also
Recall@1 of its labels, which are its subfolders.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from PIL import Image

from benchmarks.backends import in_turn
from diml.data import Collection, open_folder, original_of
from diml.evaluation import evaluate
from diml.model import StructuralModel
from diml.search import Index

SAMPLE = Path(__file__).resolve().parent.parent / "sample" / "photos"
WAYS = {"full": 2, "drafted": 3}
QUALITY = 92
# Images of which one pass decodes, so that a pass takes seconds and not minutes.
DECODED = 8


def make(photographs: Path, into: Path, images: int, megapixels: float) -> None:
    """JPEGs of that size, each of another crop of one of the photographs, with the aspect ratio 4:3."""
    files = sorted(file for file in photographs.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    draw = random.Random(0)
    width, height = round((megapixels * 1e6 * 4 / 3) ** 0.5), round((megapixels * 1e6 * 3 / 4) ** 0.5)
    for k in range(images):
        with Image.open(files[k % len(files)]) as opened:
            photo = opened.convert("RGB")
        side = min(photo.width / 4, photo.height / 3) * draw.uniform(0.8, 1)
        left, top = draw.uniform(0, photo.width - 4 * side), draw.uniform(0, photo.height - 3 * side)
        box = (left, top, left + 4 * side, top + 3 * side)
        large = photo.resize((width, height), Image.Resampling.BICUBIC, box)
        large.save(into / f"{k:03d}.jpg", quality=QUALITY)


def reading(model: StructuralModel, files: list[Path]) -> Callable[[], float]:
    """Milliseconds for an image to be decoded and preprocessed, by one thread."""

    def work() -> float:
        start = time.perf_counter()
        for file in files:
            model.encoder.preprocessing(model.read(file))
        return 1000 * (time.perf_counter() - start) / len(files)

    return work


def indexing(model: StructuralModel, collection: Collection) -> Callable[[], float]:
    """Images a second, from files to the rows of an index."""

    def work() -> float:
        with tempfile.TemporaryDirectory() as place:
            index = Index.create(Path(place) / "speed.diml", model, dim=0)
            return index.add(collection).images_per_second

    return work


def apart(models: dict[str, StructuralModel], collection: Collection) -> list[float]:
    """The cosine of each part of each image with the same part, decoded in the other way."""
    found: list[float] = []
    for start in range(0, len(collection), 32):
        files = [collection.file(i) for i in range(start, min(start + 32, len(collection)))]
        full, drafted = (models[way].encode(files).local for way in WAYS)
        found += torch.nn.functional.cosine_similarity(full, drafted, dim=-1).flatten().tolist()
    return found


def sizes(model: StructuralModel, collection: Collection) -> str:
    """What is decoded of the images."""
    drafted = [model.read(collection.file(i)) for i in range(len(collection))]
    originals = [original_of(image).size for image in drafted]
    scales = [round(size[0] / image.width) for size, image in zip(originals, drafted, strict=True)]
    counted = ", ".join(f"{scales.count(scale)} at 1/{scale}" for scale in sorted(set(scales)))
    return f"{len(scales)} images of {statistics.median(w * h for w, h in originals) / 1e6:.1f} MP (median): {counted}"


def print_apart(models: dict[str, StructuralModel], collection: Collection) -> None:
    cosines = sorted(apart(models, collection))
    print("| cosine of a part with itself | least | 1 % | median |\n|---|---|---|---|")
    values = cosines[0], cosines[len(cosines) // 100], statistics.median(cosines)
    print(f"| {len(cosines)} parts | " + " | ".join(f"{value:.4f}" for value in values) + " |\n", flush=True)


def print_recall(models: dict[str, StructuralModel], collection: Collection) -> None:
    print("| | Recall@1 | MAP@R |\n|---|---|---|")
    for way, model in models.items():
        found = evaluate(collection, model, shortlists=(100,)).to_dict()["shortlists"]
        best = found[-1]
        print(f"| {way} | {100 * best['recall@1']:.2f} | {100 * best['map@r']:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite0")
    parser.add_argument("--photographs", type=Path, default=SAMPLE)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--megapixels", type=float, default=12)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--apart", type=Path)
    parser.add_argument("--recall", action="store_true")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start, {given.model}", flush=True)
    plain = StructuralModel.from_pretrained(given.model).with_weights(None).eval()
    models = {way: plain.with_decoding(version) for way, version in WAYS.items()}
    if given.apart is not None:
        collection = open_folder(given.apart, labels_from="folder" if given.recall else None)
        print(f"{sizes(models['drafted'], collection)}\n")
        print_apart(models, collection)
        if given.recall:
            print_recall(models, collection)
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(given.photographs, folder, given.images, given.megapixels)
        collection = open_folder(folder)
        size = statistics.median(file.stat().st_size for file in folder.iterdir()) / 1e6
        print(f"{sizes(models['drafted'], collection)}; files of {size:.1f} MB\n", flush=True)
        print("| | full | drafted | ratio |\n|---|---|---|---|")
        files = [folder / path for path in collection.paths[:DECODED]]
        times = in_turn({way: reading(model, files) for way, model in models.items()}, given.runs)
        row = f"{times['full']:.1f} | {times['drafted']:.1f} | {times['full'] / times['drafted']:.2f}"
        print(f"| decoding and preprocessing, ms an image, one thread | {row} |", flush=True)
        for model in models.values():
            model.encoder.prepare()
        rates = in_turn({way: indexing(model, collection) for way, model in models.items()}, max(3, given.runs - 2))
        row = f"{rates['full']:.1f} | {rates['drafted']:.1f} | {rates['drafted'] / rates['full']:.2f}"
        print(f"| indexing, images a second | {row} |\n", flush=True)
        print_apart(models, collection)


if __name__ == "__main__":
    main()
