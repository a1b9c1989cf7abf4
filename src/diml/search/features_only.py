"""The model of an index whose features are computed elsewhere: it compares feature maps and embeds no image."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from diml.errors import UsageError
from diml.model import StructuralModel

NO_MODEL = (
    "this index holds features that were computed elsewhere and has no model to embed images; give it feature maps, "
    "or make an index with a model"
)


class NoBackbone(nn.Module):
    """Stands for the backbone that is not there."""

    def forward(self, pixels: Float[Tensor, "n 3 H W"]) -> Tensor:
        raise UsageError(NO_MODEL)


def features_model(grid: tuple[int, int]) -> StructuralModel:
    """A model that matches maps of a grid with the default matcher.

    >>> features_model((2, 2)).matcher.weight
    0.5
    """
    return StructuralModel.wrap(NoBackbone(), grid=grid, name="none")
