"""Why two images are similar by another explanation method: its heats, its correspondence, what it accounts for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.errors import UsageError
from diml.explanation.conditions import UNKNOWN, Conditions
from diml.explanation.files import write
from diml.explanation.images import FIRST, SECOND, NamedImage
from diml.explanation.method_words import CellHeat, PartCorrespondence, method_lines, method_words
from diml.explanation.numbers import cell_boxes, check_parts, scalar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from diml.explanation.marks import Box
    from diml.explanation.methods import Method, MethodResult
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match
    from diml.model import Source, StructuralModel

# How many cells of each image, and how many pairs of parts, the words list.
STRONGEST = 6


@dataclass(frozen=True, eq=False)
class MethodExplanation:
    """What an explanation method says about the similarity of two images.

    `explain_by_method` makes one.

    Args:
        method: the method.
        result: its numbers.
        match: of the two images by the model itself; its similarity is what the method explains.
        a, b: the two images; without them documents say `A.jpg` and `B.jpg`, and pictures show grey boxes.
        conditions: what compared the images.
    """

    method: Method
    result: MethodResult
    match: Match
    a: NamedImage = FIRST
    b: NamedImage = SECOND
    conditions: Conditions = UNKNOWN

    @property
    def similarity(self) -> float:
        """The similarity that the model ranks by, -1..1."""
        return scalar(self.match.similarity)

    def cells_a(self, n: int | None = None) -> list[CellHeat]:
        """The n cells of image a with the most heat (all for None), the hottest first; cells of exactly 0 are left out.

        Empty where the method gives no heat.
        """
        return _hottest(self.result.heat_a, self.match.maps_a, n)

    def cells_b(self, n: int | None = None) -> list[CellHeat]:
        """The same for image b."""
        return _hottest(self.result.heat_b, self.match.maps_b, n)

    def pairs(self, n: int | None = None) -> list[PartCorrespondence]:
        """The n pairs of parts that correspond most (all for None), strongest first; of equal ones, the hotter first.

        Pairs of strength 0 are left out; empty where the method gives no correspondence.
        """
        strengths, a, b = self.result.correspondence, self.match.maps_a, self.match.maps_b
        if strengths is None:
            return []
        values, sums = strengths.double().tolist(), strengths.double().sum(dim=1).tolist()
        heat = [0.0] * a.parts if self.result.heat_a is None else self.result.heat_a.reshape(-1).tolist()
        order = [(i, j) for i in range(a.parts) for j in range(b.parts) if values[i][j] > 0]
        order.sort(key=lambda ij: (-values[ij[0]][ij[1]], -heat[ij[0]]))
        boxes_a, boxes_b = _boxes(a), _boxes(b)
        return [
            PartCorrespondence(
                a=divmod(i, a.grid[1]),
                b=divmod(j, b.grid[1]),
                a_box=boxes_a[i],
                b_box=boxes_b[j],
                strength=values[i][j],
                share=values[i][j] / sums[i],
            )
            for i, j in order[:n]
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to say, as plain Python values: what `diml explain --method NAME --json` prints.

        Returns:
            `a, b, model, method, grid`; `similarity` by the model; `accounts_for`, `total` and `residual`: what the
            heat of a claims to sum to, and its error; `heat_a, heat_b`, (h, w) as lists of rows; `correspondence`,
            (r_a, r_b) likewise; `mass` below 1, `transport` and `bin_similarity` where it is not full. What the method
            does not provide is None.
        """
        result = self.result
        return {
            "a": self.a.name,
            "b": self.b.name,
            "model": self.conditions.model,
            "method": self.method.name,
            "grid": list(self.match.maps_a.grid),
            "similarity": self.similarity,
            "accounts_for": result.accounts_for or None,
            "total": result.total,
            "residual": result.residual,
            "heat_a": _rows(result.heat_a),
            "heat_b": _rows(result.heat_b),
            "correspondence": _rows(result.correspondence),
            **self.conditions.unusual(),
        }

    def describe(self, parts: int | None = None) -> str:
        """The method and what it accounts for in words, then the strongest cells of each image and pairs of parts.

        Args:
            parts: how many cells of each image, and how many pairs, at most; None for six.

        Raises:
            UsageError: `parts` is below 1.
        """
        from diml.explanation.methods.method import method_sentences

        most = STRONGEST if parts is None else parts
        check_parts(most)
        words = [*method_sentences(self.method), *method_words(self).lines()]
        return "\n".join([*words, "", *method_lines(self, most)])

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Draw the heat of the method over the two images; see `method_figure`.

        Args:
            path: .png, .svg or .pdf.

        Raises:
            UsageError: the method gives no heat, another ending, or a folder that does not exist.
            ImageError: an image cannot be read.
            DimlError: the file cannot be written.
        """
        from diml.explanation.drawing import method_figure

        write(path, lambda: method_figure(self))


def explain_by_method(
    method: Method | str,
    model: StructuralModel,
    a: Source | NamedImage,
    b: Source | NamedImage,
) -> MethodExplanation:
    """Explain by another method why a model finds two images as similar as it does.

    The method gets what the model sees: the images in the model's input size, after any crop. The cells of its heats
    still have their boxes in pixels of the originals.

    Args:
        method: its name, one of `diml.explanation.methods.METHODS`, or a method of your own.
        model: compares the images.
        a, b: paths, PIL images, arrays or tensors as `model.encode` takes them.

    Raises:
        UsageError: an unknown method, or one whose extra is not installed.
        ImageError: an image cannot be read.
        ModelError: the method does not support this model.

    >>> from PIL import Image
    >>> from diml.model import StructuralModel
    >>> model = StructuralModel.from_pretrained("lite0")
    >>> red, blue = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue")
    >>> explanation = explain_by_method("bilinear", model, red, blue)
    >>> explanation.result.accounts_for, abs(explanation.result.residual) < 1e-9
    ('pooled similarity', True)
    >>> explanation.cells_a(16)[-1].box[2] <= 64
    True
    """
    from diml.explanation.methods import MethodInput, methods
    from diml.explanation.methods.pixels import as_the_model_sees, in_input_size

    chosen = methods([method])[0] if isinstance(method, str) else method
    first, second = (NamedImage.of(*each, model.read) for each in ((a, "first image"), (b, "second image")))
    maps_a, maps_b = (model.encode(image.readable).to("cpu") for image in (first, second))
    seen_a, seen_b = (as_the_model_sees(model, image.readable) for image in (first, second))
    result = chosen.explain(MethodInput(in_input_size(model), seen_a, seen_b, maps_a, maps_b))
    conditions = Conditions.of(model.name, "", model.matcher)
    return MethodExplanation(chosen, result, model.explain(maps_a, maps_b), first, second, conditions)


def check_drawable(method: Method) -> None:
    """Refuse to draw a method that gives no heat; call it before the slow work.

    Raises:
        UsageError: the method gives no heat.
    """
    if not method.heats:
        raise UsageError(f"cannot draw the method {method.name}, which gives no heat; leave out the picture")


def _hottest(heat: Float[Tensor, "h w"] | None, maps: FeatureMaps, n: int | None) -> list[CellHeat]:
    if heat is None:
        return []
    values, boxes = heat.double().reshape(-1).tolist(), _boxes(maps)
    order = sorted((i for i, value in enumerate(values) if value != 0), key=lambda i: -values[i])[:n]
    return [CellHeat(divmod(i, maps.grid[1]), boxes[i], values[i]) for i in order]


def _boxes(maps: FeatureMaps) -> Sequence[Box | None]:
    return cell_boxes(maps) or [None] * maps.parts


def _rows(values: Tensor | None) -> list[list[float]] | None:
    return None if values is None else values.double().tolist()
