"""Grad-CAM for a pair: the gradient of the similarity at the backbone's last map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from diml.embedding.resampling import area
from diml.errors import ModelError
from diml.explanation.methods.method import MethodInput, MethodResult
from diml.explanation.methods.pixels import input_pixels
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True)
class GradCam:
    """`heat_i = relu(sum_k alpha_k F_ik)`, `alpha_k` the mean over locations of `d similarity / d F_k`.

    Selvaraju et al. (*Grad-CAM*, ICCV 2017), with the similarity of the pair in place of a class score; the transport
    plan is held fixed, as in training. The heat is computed on the backbone's own map and resampled to the matching
    grid by area.

    A cosine does not change when its vectors are scaled, so for a pooled similarity the values before the relu sum to
    exactly 0: Grad-CAM separates cells that help from cells that hinder, relative to the mean, and cannot say how much.
    """

    name: str = "grad-cam"
    summary: ClassVar[str] = "the gradient of the similarity at the backbone's last map, times that map"
    limitation: ClassVar[str] = "it does not say how much a cell contributes, nor what lowers the similarity"
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = False

    def explain(self, pair: MethodInput) -> MethodResult:
        features, finished = zip(
            *(_from_the_last_map(pair.model, image) for image in (pair.image_a, pair.image_b)), strict=True
        )
        with torch.enable_grad():
            similarity = pair.model.match(*finished).similarity.sum()
            gradients = torch.autograd.grad(similarity, features)
        a, b = (class_activation(f.detach(), g) for f, g in zip(features, gradients, strict=True))
        return MethodResult(_on_grid(a, pair.maps_a.grid), _on_grid(b, pair.maps_b.grid))


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
    # A pooled vector from the backbone is not computed from the map here, so no gradient flows from it to the map.
    features, pooled = output if isinstance(output, tuple) else (output, None)
    if not isinstance(features, Tensor) or features.ndim != 4:
        raise ModelError("Grad-CAM needs a backbone that gives a map (n, c, h, w); choose another method")
    leaf = features.detach().requires_grad_()
    with torch.enable_grad():
        return leaf, encoder.replace(backbone=_Given(leaf, pooled))(pixels)


class _Given(nn.Module):
    """A backbone whose output is known."""

    def __init__(self, features: Tensor, pooled: Tensor | None) -> None:
        super().__init__()
        self.output = features if pooled is None else (features, pooled)

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.output


def _on_grid(heat: Float[Tensor, "h w"], grid: tuple[int, int]) -> Float[Tensor, "p q"]:
    return area(heat[None, None], grid)[0, 0].cpu()
