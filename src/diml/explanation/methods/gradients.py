"""Grad-CAM for a pair: the gradient of the similarity at the backbone's last map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from diml.embedding import Encoder
from diml.embedding.resampling import area
from diml.errors import ModelError
from diml.explanation.methods.method import MethodResult, one_each
from diml.explanation.methods.pixels import input_pixels
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True)
class GradCam:
    """`heat_i = relu(sum_k alpha_k F_ik)`, `alpha_k` the mean over locations of `d similarity / d F_k`.

    Selvaraju et al. (*Grad-CAM*, ICCV 2017), with the similarity of the pair in place of a class score; the transport
    plan is held fixed, as it is in training. The heat lies on the backbone's own map and is brought to the matching
    grid by area.

    A cosine does not change when its vectors are scaled, so where the similarity is pooled the values before the relu
    sum to exactly 0: Grad-CAM tells cells that help from cells that hinder, relative to the mean, and never how much.
    """

    name: str = "grad-cam"
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = False

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        one_each(maps_a, maps_b)
        features, finished = zip(*(_from_the_last_map(model, image) for image in (image_a, image_b)), strict=True)
        with torch.enable_grad():
            similarity = model.match(*finished).similarity.sum()
            gradients = torch.autograd.grad(similarity, features)
        a, b = (class_activation(f.detach(), g) for f, g in zip(features, gradients, strict=True))
        return MethodResult(_on_grid(a, maps_a.grid), _on_grid(b, maps_b.grid))


def class_activation(features: Float[Tensor, "1 c h w"], gradient: Float[Tensor, "1 c h w"]) -> Float[Tensor, "h w"]:
    """`relu(sum_k mean_i(gradient_ik) F_ik)`, float64."""
    alpha = gradient.double().mean(dim=(2, 3), keepdim=True)
    return (alpha * features.double()).sum(dim=1)[0].clamp(min=0)


def _from_the_last_map(model: StructuralModel, image: Image.Image) -> tuple[Tensor, FeatureMaps]:
    """The backbone's map, as a leaf, and the feature maps made from it."""
    encoder = model.encoder.eval()
    pixels = encoder.preprocessing.normalise(input_pixels(model, image)[None].to(encoder.device))
    with torch.no_grad():
        output: Any = encoder.backbone(pixels)
    # A pooled vector of the model's own does not come from the map, so no gradient reaches the map from it.
    features, pooled = output if isinstance(output, tuple) else (output, None)
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise ModelError("the backbone gave no map (n, c, h, w), which Grad-CAM needs; choose another method")
    leaf = features.detach().requires_grad_()
    with torch.enable_grad():
        rest = Encoder(_Given(leaf, pooled), encoder.preprocessing, encoder.head, encoder.grid, encoder.resampling)
        return leaf, rest(pixels)


class _Given(nn.Module):
    """A backbone whose answer is known."""

    def __init__(self, features: Tensor, pooled: Tensor | None) -> None:
        super().__init__()
        self.answer = features if pooled is None else (features, pooled)

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.answer


def _on_grid(heat: Float[Tensor, "h w"], grid: tuple[int, int]) -> Float[Tensor, "p q"]:
    return area(heat[None, None], grid)[0, 0].cpu()
