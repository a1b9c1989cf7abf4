"""Scores of a ranking at small eps, against the exact optimum.

    python benchmarks/small_eps.py [--pairs 100]

Random pairs of sample/emoji, embedded by lite0 with its head of 128 numbers on a grid of 4 x 4, are scored as a ranking
scores them (float32, tolerance 1e-3, at most 1,000 iterations) and as numbers that are shown (float64, 1e-6, 10,000).
Prints a Markdown table for each scheme of marginals and each eps: the pairs that did not converge in the ranking, and
how far the structural similarity is from the largest that any plan with these marginals has (a linear program, solved
by SciPy). Entropy alone makes it lower; only a plan that does not meet its marginals makes it higher.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import eye_array, kron, vstack

from diml import StructuralModel
from diml.data import open_folder
from diml.feature_maps import FeatureMaps
from diml.matching import MARGINALS, Matcher, prepare
from diml.model import HeadFitting

SAMPLE = Path(__file__).resolve().parents[1] / "sample" / "emoji"
EPS = (0.05, 1e-2, 1e-3, 1e-4, 1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    options = parser.parse_args()
    maps = features()
    i, j = torch.randint(len(maps), (2, options.pairs), generator=torch.Generator().manual_seed(0))
    print("| marginals | eps | not converged | ranking: mean | lowest | highest | shown: lowest | highest |")
    print("|" + "---|" * 8)
    for scheme in MARGINALS:
        best = optimum(maps, scheme, i, j)
        for eps in EPS:
            matcher = Matcher(marginals=scheme, eps=eps)
            ranked = matcher.pairs(maps, maps, i, j)
            exact = matcher.tight().pairs(maps.to(torch.float64), maps.to(torch.float64), i, j)
            above, shown = ranked.structural.double() - best, exact.structural - best
            cells = [f"{float(x):+.4f}" for x in (above.mean(), above.min(), above.max(), shown.min(), shown.max())]
            unsolved = f"{int((~ranked.converged).sum())} of {len(i)}"
            print(f"| {scheme} | {eps:g} | {unsolved} | {' | '.join(cells)} |", flush=True)


def features() -> FeatureMaps:
    model = StructuralModel.from_pretrained("lite0").with_weights(None)
    collection = open_folder(SAMPLE)
    files = [collection.file(k) for k in range(len(collection))]
    # 240 images are fewer than a head of 128 numbers asks for by default.
    HeadFitting(128, required=True).fit_files(model, files, collection.name)
    batches = [batch.maps for batch in model.stream(files)]
    return FeatureMaps(torch.cat([maps.local for maps in batches]).detach(), model.grid)


def optimum(maps: FeatureMaps, scheme: str, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    """(p,) the largest structural similarity of any plan with the marginals of the scheme."""
    rows = prepare(maps.to(torch.float64)).rows
    products = rows[i] @ rows[j].mT
    mu_a, mu_b = MARGINALS[scheme](products[:, :-1, -1]), MARGINALS[scheme](products[:, -1, :-1])
    r_a, r_b = products.shape[1] - 1, products.shape[2] - 1
    sums = vstack([kron(eye_array(r_a), np.ones((1, r_b))), kron(np.ones((1, r_a)), eye_array(r_b))]).tocsr()
    found = []
    for similarity, a, b in zip(products[:, :-1, :-1], mu_a, mu_b, strict=True):
        solved = linprog(-similarity.flatten().numpy(), A_eq=sums, b_eq=torch.cat([a, b]).numpy(), method="highs")
        found.append(-solved.fun)
    return torch.tensor(found, dtype=torch.float64)


if __name__ == "__main__":
    main()
