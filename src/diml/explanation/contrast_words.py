"""Why this image rather than that one, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.region_words import region_place
from diml.explanation.words import NOTICEABLE, Words, digits, number, place, residual_sentence, rest_clause, signed

if TYPE_CHECKING:
    from diml.explanation.contrast import Contrast, PartLead
    from diml.explanation.lead_regions import LeadRegion

CONTRAST_HOW = (
    "A part of the query favours A by what it contributes to the similarity with A, minus what it contributes to the "
    "similarity with B."
)


REGIONS_LEAD = (
    "A region is a group of neighbouring parts of the query that favour the same image. In A and in B the parts that "
    "contribute most together with it have its number."
)


def contrast_words(contrast: Contrast, shown: Sequence[PartLead] = ()) -> Words:
    """By how much one image leads, and which parts of the query make the lead.

    Args:
        contrast: of the query with the images that are called A and B here.
        shown: the parts of the query that are listed beside these words, as `contrast.parts(n)` gave them.
    """
    a, b = number(contrast.similarity_a), number(contrast.similarity_b)
    leads = [part.difference for part in contrast.parts()]
    parts = "parts" if contrast.match_a.chosen is None else "chosen parts"
    for_a, for_b = [each for each in leads if each > 0], [each for each in leads if each < 0]
    sentences = [
        f"Similarity {a} with A and {b} with B: {_leader(contrast.difference)}.",
        f"Of the query's {len(leads)} {parts}, {len(for_a)} favour A ({signed(sum(for_a))} in total) "
        f"and {len(for_b)} favour B ({signed(sum(for_b))}).",
    ]
    if shown:
        sentences.append(_accounted(shown, len(leads)))
    if abs(contrast.residual) >= NOTICEABLE:
        sentences.append(residual_sentence(contrast.residual, "part"))
    if not contrast.converged:
        sentences.append("One of the matchings stopped before it had converged, so the numbers are approximate.")
    return Words(("Similarity with A minus that with B", signed(contrast.difference)), sentences)


def _leader(difference: float) -> str:
    if abs(difference) < NOTICEABLE:
        return f"neither leads ({signed(difference, digits(difference))})"
    return f"{'A' if difference > 0 else 'B'} leads by {number(abs(difference))}"


def _accounted(shown: Sequence[PartLead], count: int) -> str:
    these = "The part that favours A most adds" if len(shown) == 1 else f"The {len(shown)} parts that favour A most add"
    text = f"{these} {signed(sum(part.difference for part in shown))} to its lead"
    return text + rest_clause(count - len(shown))


def lead_lines(shown: Sequence[PartLead]) -> list[str]:
    """One line per part of the query: its rank, where it lies, its difference, and the two values it comes from.

    Places are boxes `x0,y0-x1,y1` in pixels of the query; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(part.difference) for part in shown), default=0.0))
    return [
        f"{i:>3}  {place(part.cell, part.box)}  {signed(part.difference, places)}"
        f"  with A {signed(part.a, places)}, with B {signed(part.b, places)}"
        for i, part in enumerate(shown, start=1)
    ]


def lead_region_lines(contrast: Contrast, regions: Sequence[LeadRegion]) -> list[str]:
    """A sentence for each region of the query, then one for all other parts together."""
    places = digits(max((abs(region.difference) for region in regions), default=0.0))
    lines = []
    for rank, region in enumerate(regions, start=1):
        favours = "A" if region.difference > 0 else "B"
        where = region_place(region.cells, region.box, contrast.match_a.maps_a.grid)
        lines.append(
            f"Region {rank} of the query, {where}, favours {favours} by {signed(abs(region.difference), places)}: "
            f"with A {signed(region.a, places)}, with B {signed(region.b, places)}."
        )
    rest = contrast.difference - contrast.residual - sum(region.difference for region in regions)
    return [*lines, f"The other parts of the query add {signed(rest, places)} to the lead of A."]
