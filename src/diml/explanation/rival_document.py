"""What another method says of a pair of images, as numbers: its heats, its correspondence and what it accounts for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.explanation.numbers import cell_boxes, scalar

if TYPE_CHECKING:
    from jaxtyping import Float
    from PIL.Image import Image
    from torch import Tensor

    from diml.explanation.marks import Box
    from diml.explanation.methods import Method, MethodResult
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match
    from diml.model import StructuralModel


@dataclass(frozen=True)
class HeatCell:
    """A cell of one image and its heat.

    Attributes:
        cell: (row, column) in the grid.
        box: `x0, y0, x1, y1` in pixels of the original; None where the geometry is unknown.
        value: its heat; may be negative.
    """

    cell: tuple[int, int]
    box: Box | None
    value: float


@dataclass(frozen=True)
class RivalPair:
    """A pair of parts that a method says to correspond.

    Attributes:
        a, b: (row, column) of the cell in each image's grid.
        a_box, b_box: `x0, y0, x1, y1` in pixels of the originals; None where the geometry is unknown.
        strength: above 0, in the method's own unit.
        share: strength divided by that of all pairs that the part of a is in, 0..1.
    """

    a: tuple[int, int]
    b: tuple[int, int]
    a_box: Box | None
    b_box: Box | None
    strength: float
    share: float


@dataclass(frozen=True, eq=False)
class RivalAnswer:
    """What a method says of two images.

    Attributes:
        method: that was asked.
        found: what it said.
        match: of the two images by the model itself: its similarity is what is to be explained.
        model: the name of the model.
    """

    method: Method
    found: MethodResult
    match: Match
    model: str = ""

    @property
    def similarity(self) -> float:
        """That the model ranks by."""
        return scalar(self.match.similarity)

    def cells_a(self, n: int | None = None) -> list[HeatCell]:
        """The n cells of image a with the most heat (all for None), most first; cells of exactly 0 are left out."""
        return _hottest(self.found.heat_a, self.match.maps_a, n)

    def cells_b(self, n: int | None = None) -> list[HeatCell]:
        """Likewise of image b; none where the method says nothing of it."""
        return _hottest(self.found.heat_b, self.match.maps_b, n)

    def pairs(self, n: int | None = None) -> list[RivalPair]:
        """The n pairs of parts that correspond most (all for None), strongest first; of equals, those with more heat.

        Pairs that are said not to correspond at all are left out.
        """
        strengths, a, b = self.found.correspondence, self.match.maps_a, self.match.maps_b
        if strengths is None:
            return []
        values, rows = strengths.double().tolist(), strengths.double().sum(dim=1).tolist()
        warmth = [0.0] * a.parts if self.found.heat_a is None else self.found.heat_a.reshape(-1).tolist()
        at = [(i, j) for i in range(a.parts) for j in range(b.parts) if values[i][j] > 0]
        at.sort(key=lambda ij: (-values[ij[0]][ij[1]], -warmth[ij[0]]))
        boxes_a, boxes_b = cell_boxes(a), cell_boxes(b)
        return [
            RivalPair(
                a=divmod(i, a.grid[1]),
                b=divmod(j, b.grid[1]),
                a_box=boxes_a[i] if boxes_a else None,
                b_box=boxes_b[j] if boxes_b else None,
                strength=values[i][j],
                share=values[i][j] / rows[i],
            )
            for i, j in at[:n]
        ]


def explain_by(
    method: Method,
    model: StructuralModel,
    image_a: Image | str | os.PathLike[str],
    image_b: Image | str | os.PathLike[str],
    maps: tuple[FeatureMaps, FeatureMaps] | None = None,
) -> RivalAnswer:
    """Ask a method why the model finds two images as similar as it does.

    The method sees what the model sees: the images in the model's input size, after any crop. The cells of its heats
    nevertheless have their boxes in pixels of the originals.

    Args:
        method: such as `diml.explanation.methods.methods(["bilinear"])[0]`.
        image_a, image_b: paths, or PIL images.
        maps: of the two images, n = 1 each, where `model.encode` has made them already.

    Raises:
        UsageError: maps of several images.
        ImageError: an image cannot be read.
        ModelError: the method cannot be had of this model.

    >>> from PIL import Image
    >>> from diml import StructuralModel
    >>> from diml.explanation.methods import methods
    >>> model = StructuralModel.from_pretrained("lite0")
    >>> red, blue = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue")
    >>> answer = explain_by(methods(["bilinear"])[0], model, red, blue)
    >>> answer.found.accounts_for, abs(answer.found.residual) < 1e-9, answer.cells_a(16)[-1].box[2] <= 64
    ('pooled similarity', True, True)
    """
    from diml.explanation.methods.method import MethodInput
    from diml.explanation.methods.pixels import as_the_model_sees, in_input_size
    from diml.model import read_image

    originals: list[Any] = [read_image(image) for image in (image_a, image_b)]
    a, b = (each.to("cpu") for each in maps or [model.encode(image) for image in originals])
    seen_a, seen_b = (as_the_model_sees(model, image) for image in originals)
    found = method.explain(MethodInput(in_input_size(model), seen_a, seen_b, a, b))
    return RivalAnswer(method, found, model.explain(a, b), model.name)


def _hottest(heat: Float[Tensor, "h w"] | None, maps: FeatureMaps, n: int | None) -> list[HeatCell]:
    if heat is None:
        return []
    values, boxes = heat.double().reshape(-1).tolist(), cell_boxes(maps)
    order = sorted((i for i, value in enumerate(values) if value != 0), key=lambda i: -values[i])[:n]
    return [HeatCell(divmod(i, maps.grid[1]), boxes[i] if boxes else None, values[i]) for i in order]


def rival_document(answer: RivalAnswer, a: str = "A.jpg", b: str = "B.jpg") -> dict[str, Any]:
    """Everything a method says of one pair of images, as plain Python values ready for `json.dumps`.

    Returns:
        `a, b, model, method, grid`; `similarity` by the model; `accounts_for`, `total` and `residual`, what the heat of
        a claims to sum to and by how much it misses that; `heat_a, heat_b`, (h, w) as lists of rows; `correspondence`,
        (r_a, r_b) likewise. What the method does not say is None.
    """
    found = answer.found
    return {
        "a": a,
        "b": b,
        "model": answer.model,
        "method": answer.method.name,
        "grid": list(answer.match.maps_a.grid),
        "similarity": answer.similarity,
        "accounts_for": found.accounts_for or None,
        "total": found.total,
        "residual": found.residual,
        "heat_a": _rows(found.heat_a),
        "heat_b": _rows(found.heat_b),
        "correspondence": _rows(found.correspondence),
    }


def _rows(values: Tensor | None) -> list[list[float]] | None:
    return None if values is None else values.double().tolist()
