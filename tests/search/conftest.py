"""A tiny model and tiny images: a search is the same at any size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from diml.embedding import Preprocessing
from diml.model import StructuralModel
from diml.search import Index

Make = Callable[..., Path]


class CountingBackbone(nn.Conv2d):
    """A random projection of 8x8 pixels, which counts the images that it has seen."""

    def __init__(self) -> None:
        super().__init__(3, 12, 8, 8)
        generator = torch.Generator().manual_seed(0)
        assert self.bias is not None
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape, generator=generator) / 14)
            self.bias.copy_(torch.randn(self.bias.shape, generator=generator) / 10)
        self.images = 0

    def forward(self, pixels: Tensor) -> Tensor:
        self.images += len(pixels)
        return super().forward(pixels)


@pytest.fixture
def backbone() -> CountingBackbone:
    return CountingBackbone()


@pytest.fixture
def backbone_class() -> type[CountingBackbone]:
    return CountingBackbone


@pytest.fixture
def model(backbone: CountingBackbone) -> StructuralModel:
    """Grid 4x4, 12 channels, no head."""
    return StructuralModel.wrap(backbone, Preprocessing(size=(32, 32)), name="tiny")


@pytest.fixture
def write_image() -> Callable[[Path, str], None]:
    return _write_image


def _write_image(file: Path, seed: str) -> None:
    """Blobs of colour that depend on the seed alone."""
    rng = np.random.default_rng(int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((40, 50)).save(file)


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """make_folder(n, name): a folder of n images in three class folders."""

    def make(n: int, name: str = "photos", prefix: str = "") -> Path:
        for i in range(n):
            _write_image(tmp_path / name / "abc"[i % 3] / f"{prefix}{i:04d}.png", f"{prefix}{i}")
        return tmp_path / name

    return make


@pytest.fixture
def photos(make_folder: Make) -> Path:
    return make_folder(12)


@pytest.fixture
def index(tmp_path: Path, model: StructuralModel, photos: Path) -> Index:
    made = Index.create(tmp_path / "photos.diml", model)
    made.add(photos, labels_from="folder")
    return made
