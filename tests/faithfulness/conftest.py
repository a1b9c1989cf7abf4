"""Small models whose cells see nothing but themselves, so that the right explanation is known."""

import pytest
import torch
from PIL import Image
from torch import nn

from diml.embedding import Preprocessing
from diml.matching import Matcher
from diml.model import StructuralModel

SIDE = 32
GRID = (4, 4)


def _noise_image(seed, size=(SIDE, SIDE)):
    values = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return Image.fromarray(values.numpy())


def _small_model(backbone=None, grid=GRID, **matcher):
    if backbone is None:
        torch.manual_seed(0)
        backbone = nn.Conv2d(3, 6, 8, 8)
    plain = Preprocessing(size=(SIDE, SIDE), mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    return StructuralModel.wrap(backbone, plain, grid=grid, matcher=Matcher(**matcher))


class _OneCell(nn.Module):
    """A map on which one cell alone follows the pixels below it; all others are always the same."""

    def __init__(self, cell):
        super().__init__()
        torch.manual_seed(1)
        self.patches = nn.Conv2d(3, 6, 8, 8)
        self.row, self.column = cell

    def forward(self, pixels):
        there = self.patches(pixels)
        features = torch.full_like(there, 0.01)
        features[:, :, self.row, self.column] = there[:, :, self.row, self.column]
        return features


@pytest.fixture(scope="session")
def noise_image():
    """An image of noise, by its seed."""
    return _noise_image


@pytest.fixture(scope="session")
def small_model():
    """A model of 32 x 32 pixels and 4 x 4 cells, by its backbone and what its matcher has."""
    return _small_model


@pytest.fixture
def one_cell():
    return _OneCell


@pytest.fixture
def model():
    return _small_model()


@pytest.fixture
def pair(model):
    """Two images and their maps, ready to be passed to `explain`."""
    images = _noise_image(1), _noise_image(2)
    maps = model.encode(images)
    return *images, maps[0], maps[1]
