"""What an explanation of a pair of images is, whatever method made it: the one interface of all rivals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.model import StructuralModel


@dataclass(frozen=True, eq=False)
class MethodResult:
    """Why two images are similar, as numbers. What a method does not say is None.

    Attributes:
        heat_a: (h, w), what each cell of image a brings to the similarity; only its order and, where there is a
            `total`, its sum have a meaning that all methods share.
        heat_b: (h, w), likewise of image b; the grids may differ.
        correspondence: (r_a, r_b), how strongly each part of a is said to belong to each part of b; of a row only the
            shares matter.
        total: the number that the heat of each image claims to sum to.
        accounts_for: in words, what that number is.
    """

    heat_a: Float[Tensor, "h w"] | None = None
    heat_b: Float[Tensor, "h_b w_b"] | None = None
    correspondence: Float[Tensor, "r_a r_b"] | None = None
    total: float | None = None
    accounts_for: str = ""

    @property
    def residual(self) -> float | None:
        """`total - sum of heat_a`: how far the account is from what it claims; None where it claims nothing."""
        if self.total is None or self.heat_a is None:
            return None
        return self.total - float(self.heat_a.double().sum())


@runtime_checkable
class Method(Protocol):
    """A way to explain a pair of images.

    Attributes:
        name: as it is chosen and printed.
        heats: whether it gives heats.
        corresponds: whether it gives a correspondence.
    """

    @property
    def name(self) -> str: ...

    @property
    def heats(self) -> bool: ...

    @property
    def corresponds(self) -> bool: ...

    def explain(
        self,
        model: StructuralModel,
        image_a: Image.Image,
        image_b: Image.Image,
        maps_a: FeatureMaps,
        maps_b: FeatureMaps,
    ) -> MethodResult:
        """Explain the similarity that `model` sees between two images.

        Args:
            model: what tells the similarity.
            image_a, image_b: the images, RGB; methods that hide or differentiate need their pixels.
            maps_a, maps_b: what the model makes of them, n = 1 each.

        Raises:
            UsageError: maps of several images.
        """
        ...


def one_each(maps_a: FeatureMaps, maps_b: FeatureMaps) -> None:
    """Refuse maps that are not of one image each.

    Raises:
        UsageError: maps of no image, or of several.
    """
    if len(maps_a) != 1 or len(maps_b) != 1:
        raise UsageError(
            f"maps of {len(maps_a)} and {len(maps_b)} images came to be explained; expected one each: pick maps[i]"
        )
