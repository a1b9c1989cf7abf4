"""Where many images agree, in plain sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.words import NOTICEABLE, digits, number, percent, place, signed

if TYPE_CHECKING:
    from diml.explanation.agreement import Agreement, SharedPart

AGREEMENT_HOW = (
    "A part is shared as far as it brings much to the similarity with the others on average; the deviation says how "
    "far they differ in that."
)


def describe_agreement(
    found: Agreement, shown: Sequence[SharedPart] = (), chosen: Sequence[int] | None = None
) -> list[str]:
    """How similar an image is to many others, and which of its parts they share, a sentence or two per line.

    Args:
        found: of the image with the others.
        shown: the parts that stand beside these words, as `found.parts(n)` gave them.
        chosen: for a part query, the numbers of the cells that were chosen.
    """
    mean, count = float(found.similarity.mean()), len(found)
    lowest, highest = float(found.similarity.min()), float(found.similarity.max())
    others = f"{count:,} other image{'' if count == 1 else 's'}"
    lines = [f"Similarity {number(mean)} with {others} on average, {number(lowest)} to {number(highest)}."]
    if shown:
        lines.append(_carried(shown, mean, found.maps.parts if chosen is None else len(chosen)))
    against = float(found.heat.clamp(max=0).sum())
    if against <= -NOTICEABLE:
        lines.append(f"Parts that are unlike the others count against it: {number(against)} in all.")
    if abs(found.residual) >= NOTICEABLE:
        lines.append(
            f"{signed(found.residual)} belongs to no part (the residual: "
            "this model sums up an image in another way than by the mean of its parts)."
        )
    if not found.converged:
        lines.append("Some matching stopped before it had converged, so the numbers are approximate.")
    return lines


def _carried(shown: Sequence[SharedPart], mean: float, count: int) -> str:
    carried = sum(part.contribution for part in shown)
    share = percent(carried, mean)
    these = "The part shown brings" if len(shown) == 1 else f"The {len(shown)} parts shown bring"
    left = count - len(shown)
    text = f"{these} {number(carried)} of the mean" + (f" ({share})" if share else "")
    return text + (f"; the other {left:,} make up the rest." if left else "; there are no others.")


def describe_shared(shown: Sequence[SharedPart]) -> list[str]:
    """One line per part: its number, where it lies, what it brings on average, and how far the images differ in that.

    Places are boxes `x0,y0-x1,y1` in pixels of the image; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(part.contribution) for part in shown), default=0.0))
    return [
        f"{i:>3}  {place(part.cell, part.box)}  {signed(part.contribution, places)}"
        f"  deviation {number(part.deviation, places)}"
        for i, part in enumerate(shown, start=1)
    ]
