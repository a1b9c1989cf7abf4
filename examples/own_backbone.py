"""A backbone of your own: any module that turns pixels into a map of features becomes a model.

    python examples/own_backbone.py [FOLDER]

Here it is the convolutional part of torchvision's ResNet-18. It has no trained weights, so its numbers mean little.
The index is written to FOLDER, by default a temporary one.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet18

import diml

SAMPLE = Path(__file__).parents[1] / "sample"


def main(folder: Path) -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(*list(resnet18(weights=None).children())[:-2])  # drops pooling and classifier
    model = diml.StructuralModel.wrap(backbone, grid=(4, 4))
    print(f"{model.dim} numbers for each part of a {model.grid[0]} x {model.grid[1]} grid")

    cat = SAMPLE / "photos" / "chelsea.jpg"
    other = SAMPLE / "photos" / "chelsea-mirrored-cropped-brighter.jpg"
    print(f"similarity {model.similarity(cat, other):.3f}")

    # An index stores the weights; the code of the backbone has to be given again to open it.
    diml.Index.create(folder / "photos.diml", model).add(SAMPLE / "photos")
    index = diml.Index.open(folder / "photos.diml", backbone=backbone)
    for hit in index.search(cat, k=3):
        print(f"{hit.similarity:.3f}  {hit.path}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
