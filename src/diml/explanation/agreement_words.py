"""Where many images agree, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.region_words import region_place
from diml.explanation.words import (
    NOTICEABLE,
    Words,
    digits,
    number,
    percent,
    place,
    residual_sentence,
    rest_clause,
    signed,
)

if TYPE_CHECKING:
    from diml.explanation.agreement import Agreement, SharedPart
    from diml.explanation.shared_regions import SharedRegion

AGREEMENT_HOW = (
    "A part is shared if it contributes much to the similarity with the other images on average; the deviation says "
    "how much that varies from image to image."
)


REGIONS_SHARED = (
    "A region is a group of neighbouring parts that contribute much to the similarity with the other images on "
    "average; the deviation says how much that varies from image to image."
)


def agreement_words(agreement: Agreement, shown: Sequence[SharedPart] = ()) -> Words:
    """How similar an image is to many others, and which of its parts they share.

    Args:
        agreement: of the image with the others.
        shown: the parts that are listed beside these words, as `agreement.parts(n)` gave them.
    """
    similarities = agreement.sums.similarities
    lowest, highest = number(float(similarities.min())), number(float(similarities.max()))
    count = len(agreement)
    others = (
        "1 other image." if count == 1 else f"{count:,} other images, with similarities from {lowest} to {highest}."
    )
    sentences = [others]
    if shown:
        sentences.append(_accounted(agreement, shown))
    against = float(agreement.heat.clamp(max=0).sum())
    if against <= -NOTICEABLE:
        sentences.append(f"Parts that are unlike the others count against it: {number(against)} in total.")
    if abs(agreement.residual) >= NOTICEABLE:
        sentences.append(residual_sentence(agreement.residual, "part"))
    if not agreement.sums.converged:
        sentences.append("Some matchings stopped before they had converged, so the numbers are approximate.")
    return Words(("Mean similarity", number(agreement.similarity)), sentences)


def _accounted(agreement: Agreement, shown: Sequence[SharedPart]) -> str:
    total = sum(part.contribution for part in shown)
    share = percent(total, agreement.similarity)
    these = "The part shown accounts" if len(shown) == 1 else f"The {len(shown)} parts shown account"
    text = f"{these} for {number(total)} of it" + (f" ({share})" if share else "")
    return text + rest_clause(len(agreement.parts()) - len(shown))


def shared_lines(shown: Sequence[SharedPart]) -> list[str]:
    """One line per part: its rank, where it lies, what it contributes on average, and how much that varies.

    Places are boxes `x0,y0-x1,y1` in pixels of the image; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(part.contribution) for part in shown), default=0.0))
    return [
        f"{i:>3}  {place(part.cell, part.box)}  {signed(part.contribution, places)}"
        f"  deviation {number(part.deviation, places)}"
        for i, part in enumerate(shown, start=1)
    ]


def shared_region_lines(agreement: Agreement, regions: Sequence[SharedRegion]) -> list[str]:
    """A sentence for each region of the image, then one for all other parts together."""
    places = digits(max((abs(region.contribution) for region in regions), default=0.0))
    lines = []
    for rank, region in enumerate(regions, start=1):
        share = percent(region.contribution, agreement.similarity)
        value = f"{signed(region.contribution, places)}, deviation {number(region.deviation, places)}"
        carries = f"carries {share} of the similarity ({value})" if share else f"adds {value}"
        where = region_place(region.cells, region.box, agreement.sums.maps.grid)
        lines.append(f"Region {rank} {carries}: {where}.")
    rest = agreement.similarity - agreement.residual - sum(region.contribution for region in regions)
    share = percent(rest, agreement.similarity)
    return [*lines, f"The other parts add {signed(rest, places)}" + (f" ({share})." if share else ".")]
