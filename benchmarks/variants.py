"""Variants of the matching on a labelled collection: marginals, attention rollout of the last blocks, partial mass.

    python benchmarks/variants.py "timm:vit_small_patch16_224?weights=FILE" [--data DATA]
    python benchmarks/variants.py lite0 --mass 1 0.9 0.7

DATA is what `diml evaluate` takes, by default emoji across designers (benchmarks/emoji/build.py makes them); each image
is looked for among the others. The head is fitted on the train half where there is one. A model without attention, such
as lite0, has no rows of rollouts. Prints a Markdown table; images are embedded once, and once more for each rollout.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from diml.data import Collection, open_dataset
from diml.errors import UsageError
from diml.evaluation import evaluate_maps
from diml.evaluation.features import Embedder
from diml.evaluation.halves import Halves
from diml.feature_maps import FeatureMaps
from diml.matching import MARGINALS, Marginal, Matcher
from diml.model import StructuralModel, rollout_marginals

DATA = Path(__file__).resolve().parent / "emoji" / "data" / "data.csv"
COLUMNS = ("recall@1", "r_precision", "map@r")
Marginals = str | Marginal | tuple[Tensor, Tensor]


def embedded(model: StructuralModel, collection: Collection) -> tuple[FeatureMaps, Collection]:
    """Maps of the evaluated images by a model that has a head then, and those images that could be read."""
    halves = Halves.of(collection)
    evaluated = collection.subset(halves.evaluated)
    features = Embedder(model).embed(evaluated, collection.subset(halves.train) if halves.train else None)
    return features.maps, evaluated.subset(features.indices)


def schemes(model: StructuralModel, images: Collection, lasts: list[int]) -> Iterator[tuple[str, Marginals]]:
    yield from ((name, name) for name in MARGINALS)
    files = [images.file(at) for at in range(len(images))]
    for last in lasts:
        try:
            weights = rollout_marginals(model, files, last)
        except UsageError as error:
            print(f"<!-- no rollout: {error} -->")
            return
        yield f"rollout:{last}", (weights, weights)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="as --model of diml evaluate")
    parser.add_argument("--data", default=str(DATA))
    parser.add_argument("--grid", type=int, default=4)
    parser.add_argument("--last", type=int, nargs="*", default=[1, 2, 4], help="blocks of the rollouts")
    parser.add_argument("--mass", type=float, nargs="+", default=[1.0, 0.9, 0.7, 0.5])
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--shortlist", type=int, default=100)
    options = parser.parse_args()
    torch.manual_seed(0)
    model = StructuralModel.from_pretrained(options.model).with_weights(None).with_grid(options.grid)
    maps, images = embedded(model, open_dataset(options.data))
    labels = images.known_labels
    print(
        f"{len(images)} images of {len(set(labels))} classes; {options.model}, grid {options.grid}x{options.grid}, "
        f"weight {options.weight:g}, shortlist {options.shortlist}; percent\n"
    )
    print("| marginals | mass | " + " | ".join(COLUMNS) + " |")
    print("|---|---|" + "---|" * len(COLUMNS))
    pooled = evaluate_maps(maps, labels, matcher=Matcher(), shortlists=[0]).results[0]
    print("| pooled only | - | " + " | ".join(f"{100 * pooled[name]:.2f}" for name in COLUMNS) + " |", flush=True)
    for name, marginals in schemes(model, images, options.last):
        for mass in options.mass:
            matcher = Matcher(marginals, options.weight, mass=mass)
            row = evaluate_maps(maps, labels, matcher=matcher, shortlists=[options.shortlist]).results[0]
            values = " | ".join(f"{100 * row[name]:.2f}" for name in COLUMNS)
            print(f"| {name} | {mass:g} | {values} |", flush=True)


if __name__ == "__main__":
    main()
