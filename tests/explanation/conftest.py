"""Small matches whose numbers are easy to check, and the images that they might be of."""

import pytest
import torch
from PIL import Image

from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Match, Matcher


def maps(seed, grid=(4, 4), size=(120, 80), shift=0.3, pooled=None):
    generator = torch.Generator().manual_seed(seed)
    local = torch.randn(1, grid[0] * grid[1], 8, generator=generator, dtype=torch.float64) + shift
    geometry = size and Geometry(torch.tensor([size]), torch.tensor([[0.0, 0.0, *map(float, size)]]))
    return FeatureMaps(local, grid, None if pooled is None else pooled(local), geometry or None)


@pytest.fixture
def match() -> Match:
    """Of two unlike images: some contributions are negative."""
    return Matcher().tight().match(maps(1), maps(2, size=(60, 90)))


@pytest.fixture
def unequal() -> Match:
    return Matcher(weight=0.3).tight().match(maps(1, (2, 3)), maps(2, (4, 4)))


@pytest.fixture
def with_residual() -> Match:
    """The model's pooled vector is not the mean of the parts."""
    return Matcher().match(maps(1, pooled=lambda x: x.amax(1)), maps(2, pooled=lambda x: x.amax(1)))


@pytest.fixture
def nowhere() -> Match:
    """The maps do not know where they lie in their images."""
    return Matcher().match(maps(1, size=None), maps(2, size=None))


@pytest.fixture
def image_a() -> Image.Image:
    return Image.linear_gradient("L").resize((120, 80)).convert("RGB")


@pytest.fixture
def image_b() -> Image.Image:
    return Image.radial_gradient("L").resize((60, 90)).convert("RGB")


@pytest.fixture
def maps_of():
    """Makes the feature maps of one image, by a seed."""
    return maps
