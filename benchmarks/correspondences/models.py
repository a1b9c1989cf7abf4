"""lite0 up to an earlier stage, whose map is finer."""

from __future__ import annotations

from torch import Tensor, nn

from diml.embedding.backbones import TimmBackbone
from diml.model import StructuralModel

STAGE = 3
"""Of timm's five stages of EfficientNet-Lite0, the one with a cell for each 16 x 16 pixels and 112 channels."""


class Stage(nn.Module):
    """The output of a stage of a timm network, (n, 3, H, W) -> (n, c, h, w)."""

    def __init__(self, backbone: TimmBackbone, stage: int = STAGE) -> None:
        super().__init__()
        self.model, self.stage = backbone.model, stage

    def forward(self, pixels: Tensor) -> Tensor:
        maps: list[Tensor] = self.model.forward_intermediates(
            pixels, indices=[self.stage], output_fmt="NCHW", intermediates_only=True, stop_early=True
        )
        return maps[0]


def load(source: str) -> StructuralModel:
    """A model as in `diml faithfulness`, or `lite0/16`: lite0 up to the stage of stride 16.

    >>> load("lite0/16").dim
    112
    """
    if source != "lite0/16":
        return StructuralModel.from_pretrained(source)
    model = StructuralModel.from_pretrained("lite0")
    backbone = Stage(model.encoder.backbone)  # type: ignore[arg-type]
    return model.replace(encoder=model.encoder.replace(backbone=backbone, inference=None).eval(), name=source)
