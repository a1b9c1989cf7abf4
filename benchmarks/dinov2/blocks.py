"""How many directions the patch tokens of each block of the DINOv2-S/14 use: fine-tuning may have spoiled the last.

    python -m benchmarks.dinov2.blocks [--weights benchmarks/dinov2/data/dinov2-s14.safetensors]

Prints for every block the effective rank of the patch tokens of an image, the mean over the sample photographs: the
exponential of the entropy of the singular values of the centred tokens, divided by their sum (Roy and Vetterli 2007),
and the same of their variances, the squares. Both lie between 1 and 255, one less than the patches. Beside them the
share of the variance in the widest direction, and the mean cosine similarity of two tokens, without centring.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.dinov2.build import ARCHITECTURE, FILE, PHOTOS, SIZE
from diml.embedding import TimmBackbone, load_weights
from diml.markdown import table
from diml.model import read_image


def effective_rank(tokens: Float[Tensor, "t c"], power: int = 1) -> float:
    """The exponential of the entropy of the singular values of centred tokens, or of their squares with power 2.

    >>> effective_rank(torch.eye(4))  # three directions of equal width are left
    3.0
    """
    shares = _shares(tokens, power)
    return round(float(torch.exp(-(shares * shares.clamp(min=1e-300).log()).sum())), 6)


def _shares(tokens: Float[Tensor, "t c"], power: int) -> Float[Tensor, "k"]:
    centred = tokens.double() - tokens.double().mean(dim=0)
    values: Tensor = torch.linalg.svdvals(centred) ** power
    return values / values.sum()


def mean_cosine(tokens: Float[Tensor, "t c"]) -> float:
    """Of all pairs of different tokens."""
    unit = torch.nn.functional.normalize(tokens.double(), dim=1)
    count = len(unit)
    return float((unit.sum(dim=0).square().sum() - count) / (count * (count - 1)))


@torch.no_grad()
def rows(weights: Path) -> list[list[str]]:
    """A row for each block, and one for the last block after the final norm."""
    backbone = TimmBackbone(ARCHITECTURE, size=(SIZE, SIZE))
    load_weights(backbone, weights)
    ready = backbone.preprocessing()
    files = sorted(PHOTOS.glob("*.jpg"))
    pixels = ready.normalise(torch.stack([ready(read_image(file)).values for file in files]))
    final, blocks = backbone.model.forward_intermediates(pixels, output_fmt="NLC")
    named = [*((str(at), tokens) for at, tokens in enumerate(blocks)), ("11, normed", final[:, 1:])]
    return [
        [
            name,
            f"{_mean([effective_rank(each) for each in tokens]):.1f}",
            f"{_mean([effective_rank(each, 2) for each in tokens]):.1f}",
            f"{100 * _mean([float(_shares(each, 2)[0]) for each in tokens]):.0f} %",
            f"{_mean([mean_cosine(each) for each in tokens]):.2f}",
        ]
        for name, tokens in named
    ]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent
    parser.add_argument("--weights", type=Path, default=here / "data" / FILE)
    options = parser.parse_args()
    print(table(["block", "of singular values", "of variances", "widest", "cosine"], rows(options.weights)))


if __name__ == "__main__":
    main()
