"""The result of an explanation method in words: what it accounts for, its strongest cells and pairs of parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diml.explanation.words import NOTICEABLE, SCALE, Words, digits, number, place, signed

if TYPE_CHECKING:
    from diml.explanation.by_method import MethodExplanation
    from diml.explanation.marks import Box


@dataclass(frozen=True)
class CellHeat:
    """A cell of one image and its heat.

    Attributes:
        cell: (row, column) in the grid.
        box: `x0, y0, x1, y1` in pixels of the original; None where the geometry is unknown.
        heat: in the method's own unit; may be negative.
    """

    cell: tuple[int, int]
    box: Box | None
    heat: float


@dataclass(frozen=True)
class PartCorrespondence:
    """A pair of parts that correspond, according to a method.

    Attributes:
        a, b: (row, column) of the cell in each image's grid.
        a_box, b_box: `x0, y0, x1, y1` in pixels of the originals; None where the geometry is unknown.
        strength: above 0, in the method's own unit.
        share: strength divided by the sum over all pairs of the part of a, 0..1.
    """

    a: tuple[int, int]
    b: tuple[int, int]
    a_box: Box | None
    b_box: Box | None
    strength: float
    share: float


def method_words(explanation: MethodExplanation) -> Words:
    """The similarity of two images, and how much of it the method accounts for."""
    sentences = [SCALE, _accounted(explanation)]
    if not bool(explanation.match.converged[0]):
        sentences.append("The matching stopped before it had converged, so the similarity is approximate.")
    return Words(("Similarity", number(explanation.similarity)), sentences)


def _accounted(explanation: MethodExplanation) -> str:
    result = explanation.result
    if result.heat_a is None:
        return "The method accounts for nothing: it gives no heat, only which parts correspond."
    if result.total is None or result.residual is None:
        return "The method accounts for nothing: its heat has no defined sum, and only the order of the cells counts."
    other = abs(result.total - explanation.similarity) >= NOTICEABLE
    text = (
        f"The method accounts for the {result.accounts_for}, {number(result.total)}"
        f"{', which is not the similarity above' if other else ''}: "
        f"the cells of A sum to {number(float(result.heat_a.double().sum()))}"
    )
    if result.heat_b is not None:
        text += f", those of B to {number(float(result.heat_b.double().sum()))}"
    return f"{text}. The residual for A is {signed(result.residual)}."


def method_lines(explanation: MethodExplanation, parts: int) -> list[str]:
    """The strongest cells of A and of B and the strongest pairs of parts, each list under a heading of its own.

    Places are boxes `x0,y0-x1,y1` in pixels of the originals; row and column (from 0) where these are unknown. What the
    method does not provide is left out.
    """
    result, lines = explanation.result, list[str]()
    if result.heat_a is not None:
        lines += ["", *_cell_lines("A", explanation.cells_a(parts))]
    if result.heat_b is not None:
        lines += ["", *_cell_lines("B", explanation.cells_b(parts))]
    if result.correspondence is not None:
        lines += ["", *_pair_lines(explanation.pairs(parts))]
    return lines[1:]


def _cell_lines(image: str, shown: Sequence[CellHeat]) -> list[str]:
    if not shown:
        return [f"The heat of {image} is 0 everywhere."]
    places = digits(max(abs(each.heat) for each in shown))
    return [
        _heading(len(shown), "cell", f" of {image}"),
        *(
            f"{i:>3}  {place(each.cell, each.box)}  {signed(each.heat, places)}"
            for i, each in enumerate(shown, start=1)
        ),
    ]


def _pair_lines(shown: Sequence[PartCorrespondence]) -> list[str]:
    if not shown:
        return ["No parts correspond."]
    places = digits(shown[0].strength)
    return [
        _heading(len(shown), "pair", " of parts"),
        *(
            f"{i:>3}  {place(pair.a, pair.a_box)}  \N{LEFT RIGHT ARROW}  {place(pair.b, pair.b_box)}"
            f"  strength {number(pair.strength, places)}, share {number(pair.share)}"
            for i, pair in enumerate(shown, start=1)
        ),
    ]


def _heading(count: int, what: str, of: str) -> str:
    return f"The strongest {what}{of}:" if count == 1 else f"The {count} strongest {what}s{of}:"
