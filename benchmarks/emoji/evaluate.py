"""The untrained model on emoji across designers: pooled against structural, marginals, grids and dims.

    python benchmarks/emoji/build.py
    python benchmarks/emoji/evaluate.py [--half test|train]

`--half test` fits the head on the training classes and evaluates the test classes, which have not been used before.
`--half train` is for choosing defaults: it fits on one half of the training classes and evaluates the other.
Prints a Markdown table. Images are embedded once, at 7x7; all rows are computed from these maps.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import torch

from diml.data import Collection, open_dataset
from diml.embedding import RESAMPLINGS, fit_whitening
from diml.evaluation import evaluate_maps
from diml.feature_maps import FeatureMaps
from diml.matching import MARGINALS, Matcher
from diml.model import StructuralModel

DATA = Path(__file__).resolve().parent / "data" / "data.csv"
COLUMNS = ("recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r")


def embedded(model: StructuralModel, collection: Collection) -> FeatureMaps:
    """float16 maps of all images, as an index stores them."""
    files = [collection.file(i) for i in range(len(collection))]
    return FeatureMaps.cat([batch.maps.to(torch.float16) for batch in model.stream(files)])


def on_grid(maps: FeatureMaps, side: int, head: torch.nn.Linear | None) -> FeatureMaps:
    pieces = []
    for local in torch.split(maps.local, 256):
        square = local.float().mT.reshape(len(local), maps.dim, *maps.grid)
        resampled = RESAMPLINGS["area"](square, (side, side)).flatten(2).mT
        with torch.no_grad():
            pieces.append((resampled if head is None else head(resampled)).half())
    return FeatureMaps(torch.cat(pieces), (side, side))


def halves(collection: Collection, half: str) -> tuple[Collection, Collection]:
    """The images that the head is fitted on, and those that are evaluated."""
    splits, labels = collection.splits or [], collection.known_labels
    train = [i for i, split in enumerate(splits) if split == "train"]
    if half == "test":
        return collection.subset(train), collection.subset(i for i, split in enumerate(splits) if split == "test")
    first = {i for i in train if hashlib.sha256(labels[i].encode()).digest()[0] % 2 == 0}
    return collection.subset(i for i in train if i in first), collection.subset(i for i in train if i not in first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=("test", "train"), default="test")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--shortlist", type=int, default=100)
    parser.add_argument("--grids", type=int, nargs="+", default=[4, 7])
    parser.add_argument("--dims", type=int, nargs="+", default=[128, 256], help="0 for the backbone's own channels")
    options = parser.parse_args()
    model = StructuralModel.from_pretrained("lite0").with_weights(None).with_grid((7, 7))
    fitted_on, evaluated = halves(open_dataset(str(options.data)), options.half)
    pooled, maps = embedded(model.with_grid((1, 1)), fitted_on).mean, embedded(model, evaluated)
    labels = evaluated.known_labels
    print(
        f"{len(evaluated)} images of {len(set(labels))} classes, heads fitted on {len(fitted_on)} images of "
        f"{len(set(fitted_on.known_labels))} other classes; lite0, shortlist {options.shortlist}; percent\n"
    )
    print("| dim | grid | ranking | marginals | " + " | ".join(COLUMNS) + " |")
    print("|---|---|---|---|" + "---|" * len(COLUMNS))
    for dim in options.dims:
        head = fit_whitening(pooled, dim) if dim else None
        for side in options.grids:
            local = on_grid(maps, side, head)
            for scheme in MARGINALS:
                result = evaluate_maps(local, labels, matcher=Matcher(scheme), shortlists=(0, options.shortlist))
                for row in result.results:
                    structural = row["shortlist"] > 0
                    if not structural and (scheme != next(iter(MARGINALS)) or side != options.grids[0]):
                        continue  # the pooled ranking depends neither on marginals nor on the grid
                    values = " | ".join(f"{100 * row[name]:.2f}" for name in COLUMNS)
                    what = (f"{side}x{side}", "structural", scheme) if structural else ("any", "pooled", "-")
                    print(f"| {dim or 'own'} | {' | '.join(what)} | {values} |", flush=True)


if __name__ == "__main__":
    main()
