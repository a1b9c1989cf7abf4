"""The numbers of a match in plain sentences, for someone who has not read the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.numbers import one_pair, scalar

if TYPE_CHECKING:
    from diml.matching import Match, PartPair

# Below this a residual is rounding: contributions sum to the similarity within 1e-5 in float32.
NOTICEABLE = 5e-4
# From here up two images may well be copies of each other, and a reader wonders why they do not reach 1.
NEAR_ONE = 0.98

PAIR_HOW = (
    "A pair counts by how alike its two parts look to the model, and by how much of the images the matching gives it."
)
CAVEAT = "This accounts for the score, not for the world: it says what the model compared."


def number(value: float, digits: int = 3) -> str:
    """A rounded number with a real minus sign, and no minus before a zero.

    >>> number(-0.0001), number(-0.25)
    ('0.000', '\N{MINUS SIGN}0.250')
    """
    text = f"{value:.{digits}f}"
    if text.startswith("-"):
        text = text[1:] if float(text) == 0 else "\N{MINUS SIGN}" + text[1:]
    return text


def digits(largest: float) -> int:
    """How many decimals show small numbers next to the largest of them: two significant ones of it, 3 to 6 in all.

    >>> digits(0.71), digits(0.0016)
    (3, 4)
    """
    return next((n for n in range(3, 6) if abs(largest) >= 0.95 * 10.0 ** (1 - n)), 6)


def signed(value: float, digits: int = 3) -> str:
    """As `number`, with a plus before what adds.

    >>> signed(0.041), signed(0.0)
    ('+0.041', '0.000')
    """
    text = number(value, digits)
    return "+" + text if value > 0 and float(text) != 0 else text


def percent(part: float, whole: float) -> str:
    """A part as a share of a positive whole; a share of nothing, or of less, says nothing and is left out.

    >>> percent(0.2, 0.8), percent(0.005, 0.8), percent(0.2, -0.1)
    ('25 %', '0.6 %', '')
    """
    if whole < NOTICEABLE:
        return ""
    share = 100 * part / whole
    return f"{number(share, 0 if abs(share) >= 9.95 else 1)} %"


def describe(match: Match, shown: Sequence[PartPair] = (), chosen: Sequence[int] | None = None) -> list[str]:
    """The score of one pair of images and what it is made of, a sentence or two per line.

    Args:
        match: of one pair of images.
        shown: the pairs of parts that stand beside these words, as `match.parts(n)` gave them; the words then
            say how much of the similarity they carry.
        chosen: for a part query, the numbers of the cells of a that were chosen.

    Raises:
        UsageError: the match is not of one pair of images.
    """
    match = one_pair(match)
    lines = [_score(match), _make_up(match) if chosen is None else _made_of(len(chosen))]
    if shown:
        count = match.maps_a.parts if chosen is None else len(chosen)
        lines.append(_carried(match, shown, count * match.maps_b.parts))
    return lines + _reservations(match)


def _score(match: Match) -> str:
    text = f"Similarity {number(scalar(match.similarity))}: 1 is the same, 0 is unrelated, below 0 is opposed."
    if float(f"{scalar(match.similarity):.3f}") < 1 and (_same(match) or scalar(match.similarity) >= NEAR_ONE):
        text += " An image with itself comes to slightly less than 1, because the matching is soft."
    return text


def _same(match: Match) -> bool:
    """Whether the model saw the same in both images."""
    import torch

    return torch.equal(match.maps_a.local, match.maps_b.local)


def _make_up(match: Match) -> str:
    parts, whole = _fraction(match.weight), _fraction(1 - match.weight)
    pooled, structural = number(scalar(match.pooled)), number(scalar(match.structural))
    return (
        f"It is {whole} from the images as a whole (pooled similarity {pooled}) "
        f"and {parts} from their matched parts (structural similarity {structural})."
    )


def _made_of(chosen: int) -> str:
    these = "part of the first image alone," if chosen == 1 else "parts of the first image alone, each"
    return (
        f"It is of the {chosen} chosen {these} matched with whatever is most like it in the second; "
        "what else either image shows does not count."
    )


def _fraction(weight: float) -> str:
    return "half" if weight == 0.5 else f"{100 * weight:.3g} %"


def _carried(match: Match, shown: Sequence[PartPair], count: int) -> str:
    similarity = scalar(match.similarity)
    carried = sum(pair.contribution for pair in shown)
    share = percent(carried, similarity)
    these = "The pair of parts shown carries" if len(shown) == 1 else f"The {len(shown)} pairs of parts shown carry"
    text = f"{these} {number(carried)} of it" + (f" ({share})" if share else "")
    left = count - len(shown)
    if left == 0:
        return text + "; there are no others."
    return text + f"; {left:,} weaker pair{'s' if left > 1 else ''} make{'' if left > 1 else 's'} up the rest."


def _reservations(match: Match) -> list[str]:
    lines = []
    against = float(match.contributions[0].detach().clamp(max=0).sum())
    if against <= -NOTICEABLE:
        lines.append(f"Pairs of unlike parts count against it: {number(against)} in all.")
    residual = scalar(match.residual)
    if abs(residual) >= NOTICEABLE:
        lines.append(
            f"{signed(residual)} belongs to no pair of parts (the residual: "
            "this model sums up an image in another way than by the mean of its parts)."
        )
    if not bool(match.converged[0]):
        lines.append("The matching stopped before it had converged, so the numbers are approximate.")
    return lines


def describe_pairs(shown: Sequence[PartPair]) -> list[str]:
    """One line per pair of parts: its number in the ranking, where it lies in both images, what it contributes.

    Places are boxes `x0,y0-x1,y1` in pixels of the originals; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(pair.contribution) for pair in shown), default=0.0))
    return [
        f"{i:>3}  {place(pair.a, pair.a_box)}  \N{LEFT RIGHT ARROW}  {place(pair.b, pair.b_box)}"
        f"  {signed(pair.contribution, places)}  similarity {number(pair.similarity)}, mass {pair.mass:.3f}"
        for i, pair in enumerate(shown, start=1)
    ]


def place(cell: tuple[int, int], box: Sequence[float] | None) -> str:
    """Where a part lies: its box, or its row and column (from 0) where that is unknown."""
    if box is None:
        return f"row {cell[0]} column {cell[1]}"
    x0, y0, x1, y1 = (f"{edge:.0f}" for edge in box)
    return f"{x0},{y0}-{x1},{y1}"


def without_middle(text: str, keep: int) -> str:
    """The first and last characters around an ellipsis, `keep` of them in all; the text itself if it is that short.

    >>> without_middle("abcdefgh.jpg", 6)
    'abc…jpg'
    """
    if len(text) <= keep + 1:
        return text
    tail = keep // 2
    return text[: keep - tail] + "\N{HORIZONTAL ELLIPSIS}" + (text[-tail:] if tail else "")
