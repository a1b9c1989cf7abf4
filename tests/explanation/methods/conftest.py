"""Two images and a small model, as every method is given them."""

import pytest

from diml.explanation.methods import MethodInput


@pytest.fixture
def model(small_model):
    return small_model()


@pytest.fixture
def input_of():
    """What a method is given of two images in the model's input size."""

    def of(model, image_a, image_b):
        maps = model.encode([image_a, image_b])
        return MethodInput(model, image_a, image_b, maps[0], maps[1])

    return of


@pytest.fixture
def pair(model, noise_image, input_of):
    return input_of(model, noise_image(1), noise_image(2))
