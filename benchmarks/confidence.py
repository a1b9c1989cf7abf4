"""Do the numbers that `diml search` prints beside a hit tell right hits from wrong ones?

    diml index sample/emoji --into emoji.diml --labels-from folder
    python benchmarks/confidence.py emoji.diml sample/emoji

Every image of DATA (a labelled collection, as `diml evaluate` takes it, whose images are in the index) asks for the
best hit other than itself. Prints, for each number, the area under the ROC curve: how often a right hit has the better
number than a wrong one, 0.5 being chance; with the similarity itself to compare with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from diml.data import open_dataset
from diml.search import Hit, Index

# Larger is surer.
NUMBERS: dict[str, Callable[[Hit], float]] = {
    "similarity": lambda hit: hit.similarity,
    "margin": lambda hit: np.inf if hit.margin is None else hit.margin,
    "concentration": lambda hit: hit.concentration,
    "minus pooled_rank": lambda hit: -hit.pooled_rank,
}


def auc(right: np.ndarray, wrong: np.ndarray) -> float:
    """The share of pairs of a right and a wrong hit where the right one has the larger number, ties counting half."""
    difference = right[:, None] - wrong[None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def interval(values: np.ndarray, is_right: np.ndarray, times: int = 1000) -> tuple[float, float]:
    """95 % of what the AUC is over queries drawn anew, with repetition."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(times):
        drawn = random.integers(len(values), size=len(values))
        right, wrong = values[drawn][is_right[drawn]], values[drawn][~is_right[drawn]]
        if len(right) and len(wrong):
            found.append(auc(right, wrong))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index")
    parser.add_argument("data")
    parser.add_argument("--shortlist", type=int, default=100)
    parser.add_argument("--queries", type=int, default=None, help="only the first so many")
    options = parser.parse_args()
    index, collection = Index.open(options.index), open_dataset(options.data)
    labels = collection.known_labels
    best, correct = [], []
    for at in range(len(collection))[: options.queries]:
        found = index.search(collection.file(at), k=2, shortlist=options.shortlist)
        hit = next(hit for hit in found if hit.path != collection.paths[at])
        best.append(hit)
        correct.append(hit.label == labels[at])
    is_right = np.array(correct)
    print(f"{len(best)} queries, {100 * is_right.mean():.1f} % of the best hits right, shortlist {options.shortlist}\n")
    print("| number | AUC | 95 % interval | median, right | median, wrong |")
    print("|---|---|---|---|---|")
    for name, number in NUMBERS.items():
        values = np.array([number(hit) for hit in best])
        right, wrong = values[is_right], values[~is_right]
        low, high = interval(values, is_right)
        medians = f"{np.median(right):.3f} | {np.median(wrong):.3f}"
        print(f"| {name} | {auc(right, wrong):.3f} | {low:.3f} to {high:.3f} | {medians} |")


if __name__ == "__main__":
    main()
