"""The lead of one image over another in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.words import NOTICEABLE, digits, number, place, signed

if TYPE_CHECKING:
    from diml.explanation.contrast import Contrast, PartLead

CONTRAST_HOW = (
    "A part of the query speaks for A by what it brings to the similarity with A, less what it brings to that with B."
)


def describe_contrast(
    contrast: Contrast, shown: Sequence[PartLead] = (), chosen: Sequence[int] | None = None
) -> list[str]:
    """How far one image leads, and which parts of the query make the lead, a sentence or two per line.

    Args:
        contrast: of the query with the images that are called A and B here.
        shown: the parts of the query that stand beside these words, as `contrast.parts(n)` gave them.
        chosen: for a part query, the numbers of the cells of the query that were chosen.
    """
    a, b = number(contrast.similarity_a), number(contrast.similarity_b)
    lines = [f"Similarity {a} with A and {b} with B: {_lead(contrast.difference)}."]
    leads = [part.difference for part in contrast.parts(chosen=chosen)]
    parts = "parts" if chosen is None else "chosen parts"
    for_a, for_b = [each for each in leads if each > 0], [each for each in leads if each < 0]
    lines.append(
        f"Of the query's {len(leads)} {parts}, {len(for_a)} speak for A ({signed(sum(for_a))} in all) "
        f"and {len(for_b)} for B ({signed(sum(for_b))})."
    )
    if shown:
        lines.append(_carried(shown, len(leads)))
    if abs(contrast.residual) >= NOTICEABLE:
        lines.append(
            f"{signed(contrast.residual)} belongs to no part (the residual: "
            "this model sums up an image in another way than by the mean of its parts)."
        )
    if not (bool(contrast.match_a.converged[0]) and bool(contrast.match_b.converged[0])):
        lines.append("A matching stopped before it had converged, so the numbers are approximate.")
    return lines


def _lead(difference: float) -> str:
    if abs(difference) < NOTICEABLE:
        return f"neither leads ({signed(difference, digits(difference))})"
    return f"{'A' if difference > 0 else 'B'} leads by {number(abs(difference))}"


def _carried(shown: Sequence[PartLead], count: int) -> str:
    left = count - len(shown)
    these = "The part that speaks most for A adds" if len(shown) == 1 else f"The {len(shown)} that speak most for A add"
    text = f"{these} {signed(sum(part.difference for part in shown))} to A's lead"
    return text + (f"; the other {left:,} make up the rest." if left else "; there are no others.")


def describe_leads(shown: Sequence[PartLead]) -> list[str]:
    """One line per part of the query: its number, where it lies, its difference, and the two sums it is made of.

    Places are boxes `x0,y0-x1,y1` in pixels of the query; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(part.difference) for part in shown), default=0.0))
    return [
        f"{i:>3}  {place(part.cell, part.box)}  {signed(part.difference, places)}"
        f"  with A {signed(part.a, places)}, with B {signed(part.b, places)}"
        for i, part in enumerate(shown, start=1)
    ]
