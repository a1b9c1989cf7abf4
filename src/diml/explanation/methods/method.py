"""The interface of all explanation methods: what a method is given, what it returns, and how it is described."""

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
class MethodInput:
    """Two images and the model whose similarity of them is explained.

    Attributes:
        model: for images in its input size; `diml.explanation.methods.pixels.in_input_size` makes one that crops
            nothing more.
        image_a, image_b: RGB images in the input size of the model, for methods that need pixels.
        maps_a, maps_b: the model's feature maps of the two images, n = 1 each.

    Raises:
        UsageError: feature maps of no image, or of several.
    """

    model: StructuralModel
    image_a: Image.Image
    image_b: Image.Image
    maps_a: FeatureMaps
    maps_b: FeatureMaps

    def __post_init__(self) -> None:
        if len(self.maps_a) != 1 or len(self.maps_b) != 1:
            raise UsageError(
                f"expected feature maps of one image each, got {len(self.maps_a)} and {len(self.maps_b)} images; "
                "pick one with maps[i]"
            )


@dataclass(frozen=True, eq=False)
class MethodResult:
    """Why two images are similar, as numbers. What a method does not provide is None.

    Attributes:
        heat_a: (h, w), what each cell of image a contributes to the similarity. Methods share only the meaning of its
            order and, where there is a `total`, of its sum.
        heat_b: (h_b, w_b), the same for image b; the grids may differ.
        correspondence: (r_a, r_b), >= 0, how strongly each part of a corresponds to each part of b; only the shares
            within a row have a meaning.
        total: the number that the heat of each image claims to sum to.
        accounts_for: the name of that number, such as "pooled similarity"; empty without a `total`.
        contributions: (r_a, r_b), how much each pair of parts contributes; may be negative. They sum to the `total`
            where there is one and nothing stays unmatched.
    """

    heat_a: Float[Tensor, "h w"] | None = None
    heat_b: Float[Tensor, "h_b w_b"] | None = None
    correspondence: Float[Tensor, "r_a r_b"] | None = None
    total: float | None = None
    accounts_for: str = ""
    contributions: Float[Tensor, "r_a r_b"] | None = None

    @property
    def residual(self) -> float | None:
        """`total - sum of heat_a`: the error of the claim; None where the method claims nothing."""
        if self.total is None or self.heat_a is None:
            return None
        return self.total - float(self.heat_a.double().sum())


@runtime_checkable
class Method(Protocol):
    """An explanation method: one small class, and one line in `diml.explanation.methods.METHODS`.

    Attributes:
        name: what `--method` takes and reports print.
        heats: whether it gives heats.
        corresponds: whether it gives a correspondence.
        summary: what it shows, as a phrase: "Method NAME: SUMMARY."
        limitation: what its numbers do not say, as a clause: "it says nothing about B".
    """

    @property
    def name(self) -> str: ...

    @property
    def heats(self) -> bool: ...

    @property
    def corresponds(self) -> bool: ...

    @property
    def summary(self) -> str: ...

    @property
    def limitation(self) -> str: ...

    def explain(self, pair: MethodInput) -> MethodResult:
        """Explain the similarity that `pair.model` computes for two images."""
        ...


def method_sentences(method: Method) -> tuple[str, str]:
    """The name of a method with its summary, and its limitation: two sentences.

    >>> from diml.explanation.methods import CentreControl
    >>> method_sentences(CentreControl())[0]
    'Method centre: the nearer a cell is to the middle, the higher its heat.'
    """
    return f"Method {method.name}: {method.summary}.", f"{method.limitation[:1].upper()}{method.limitation[1:]}."
