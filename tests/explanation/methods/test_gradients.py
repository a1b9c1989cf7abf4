"""Grad-CAM where it can be written down, and against the gradient by finite differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diml.embedding.resampling import area
from diml.explanation.methods import GradCam
from diml.explanation.methods.gradients import class_activation


def features(model, image):
    pixels = model.encoder.preprocessing.normalise(model.encoder.preprocessing(image).values[None])
    with torch.no_grad():
        return model.encoder.backbone(pixels)


@pytest.mark.parametrize("grid", [(4, 4), (3, 2)])
def test_the_pooled_cosine_has_a_closed_form(grid, small_model, noise_image, input_of):
    """`d s / d F_ik = (hat(B)_k - s hat(A)_k) / (R |A|)` for every location i, so alpha is that vector."""
    model = small_model(grid=grid, weight=0.0)
    images = noise_image(1), noise_image(2)
    found = GradCam().explain(input_of(model, *images))
    a, b = (features(model, image).double() for image in images)
    mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
    s = F.cosine_similarity(mean_a, mean_b)
    alpha = (F.normalize(mean_b) - s * F.normalize(mean_a)) / (16 * mean_a.norm())
    heat = (alpha[:, :, None, None] * a).sum(1)
    assert abs(heat.sum().item()) < 1e-12  # the law in the docstring: before the relu the heat sums to 0
    expected = area(heat.clamp(min=0)[None], grid)[0, 0]
    torch.testing.assert_close(found.heat_a, expected, atol=1e-7, rtol=1e-4)


def test_with_a_head_the_gradient_is_that_of_the_whole_way(small_model, noise_image, input_of):
    """By finite differences in float64, the plan held fixed, through the head and both halves of the similarity."""
    model = small_model(weight=0.5)
    torch.manual_seed(3)
    model.encoder.head = nn.Linear(6, 4).double()
    model.double()
    images = noise_image(1), noise_image(2)
    values = [model.encoder.preprocessing(image).values[None] for image in images]
    a, b = (model.encoder.backbone(model.encoder.preprocessing.normalise(v).double()).detach() for v in values)

    def similarity(x):
        """With the plan of the unchanged images."""
        parts = [model.encoder.head(each.flatten(2).mT) for each in (x, b)]
        local = F.normalize(parts[0], dim=-1) @ F.normalize(parts[1], dim=-1).mT
        pooled = F.cosine_similarity(parts[0].mean(1), parts[1].mean(1))
        return 0.5 * pooled + 0.5 * (plan * local).sum()

    from diml.feature_maps import FeatureMaps

    maps = [FeatureMaps(model.encoder.head(each.flatten(2).mT).detach(), (4, 4)) for each in (a, b)]
    plan = model.match(*maps).plan
    gradient = torch.zeros_like(a)
    step = 1e-6
    for at in range(a.numel()):
        moved = [a.clone().flatten() for _ in range(2)]
        moved[0][at] += step
        moved[1][at] -= step
        up, down = (similarity(x.reshape(a.shape)) for x in moved)
        gradient.view(-1)[at] = (up - down).item() / (2 * step)
    expected = class_activation(a, gradient)
    model.float()
    found = GradCam().explain(input_of(model, *images))
    torch.testing.assert_close(found.heat_a, expected, atol=1e-6, rtol=2e-3)


def test_nothing_is_left_behind_on_the_model(small_model, noise_image, input_of):
    model = small_model()
    GradCam().explain(input_of(model, noise_image(1), noise_image(2)))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_pooled_vector_of_the_models_own_brings_no_gradient(small_model, noise_image, input_of):
    class WithPooled(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.map = nn.Conv2d(3, 6, 8, 8)

        def forward(self, pixels):
            found = self.map(pixels)
            return found, found.amax((2, 3))

    model = small_model(WithPooled(), weight=0.5)
    images = noise_image(1), noise_image(2)
    found = GradCam().explain(input_of(model, *images))
    assert torch.isfinite(found.heat_a).all()
    assert found.heat_a.max() > 0
