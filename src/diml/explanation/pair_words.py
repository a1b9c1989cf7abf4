"""The similarity of one pair of images and its strongest pairs of parts, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.numbers import leaves_unmatched, scalar
from diml.explanation.region_words import unmatched_sentence
from diml.explanation.words import (
    NOTICEABLE,
    SCALE,
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
    from diml.matching import Match, PartPair

# From here up two images may well be copies of each other, and readers wonder why they do not reach 1.
NEAR_ONE = 0.98

PAIR_HOW = (
    "A pair contributes more the more alike its two parts look to the model, and the more mass the matching gives it."
)


def pair_words(match: Match, shown: Sequence[PartPair] = (), carried: str = "") -> Words:
    """The similarity of one pair of images and what it is made of.

    Args:
        match: of one pair of images.
        shown: the pairs of parts that are listed beside these words; the words then say how much they account for.
        carried: the sentence about the regions that are listed beside these words, if they are.
    """
    sentences = [_scale(match), _composition(match) if match.chosen is None else _chosen_only(len(match.chosen))]
    if leaves_unmatched(match):
        shares = [scalar(each.sum(dim=1)) for each in match.unmatched]
        sentences += [text for text in [unmatched_sentence((shares[0], shares[1]))] if text]
    if carried:
        sentences.append(carried)
    if shown:
        sentences.append(_accounted(match, shown))
    return Words(("Similarity", number(scalar(match.similarity))), sentences + _reservations(match))


def _scale(match: Match) -> str:
    text = SCALE
    similarity = scalar(match.similarity)
    if float(f"{similarity:.3f}") < 1 and (_same(match) or similarity >= NEAR_ONE):
        text += " Even an image compared with itself scores slightly below 1, because the matching is soft."
    return text


def _same(match: Match) -> bool:
    """Whether the model saw the same in both images."""
    import torch

    return torch.equal(match.maps_a.local, match.maps_b.local)


def _composition(match: Match) -> str:
    parts, whole = _fraction(match.weight), _fraction(1 - match.weight)
    pooled, structural = number(scalar(match.pooled)), number(scalar(match.structural))
    as_a_whole = f"how similar the images are as a whole (pooled similarity {pooled})"
    text = f"It adds {whole} of {as_a_whole} and {parts} of how similar"
    if match.bin_similarity is None:
        return f"{text} their matched parts are (structural similarity {structural})."
    left = match.bin_similarity * (1 - scalar(match.plan.sum(dim=(1, 2))))
    matched = number(scalar(match.structural) - left)
    return (
        f"{text} their parts are (structural similarity {structural}: {matched} from what is matched, {number(left)} "
        f"from what is not, which counts as if it were matched with similarity {number(match.bin_similarity, 2)})."
    )


def _chosen_only(count: int) -> str:
    these = (
        "chosen part of the first image counts,"
        if count == 1
        else f"{count} chosen parts of the first image count, each"
    )
    return (
        f"Only the {these} matched with whatever resembles it most in the second image; "
        "the rest of both images is ignored."
    )


def _fraction(weight: float) -> str:
    return "half" if weight == 0.5 else f"{100 * weight:.3g} %"


def _accounted(match: Match, shown: Sequence[PartPair]) -> str:
    sum_shown = sum(pair.contribution for pair in shown)
    share = percent(sum_shown, scalar(match.similarity))
    these = "The pair of parts shown accounts" if len(shown) == 1 else f"The {len(shown)} pairs of parts shown account"
    text = f"{these} for {number(sum_shown)} of it" + (f" ({share})" if share else "")
    left = pair_count(match) - len(shown)
    if match.bin_similarity is not None:
        pairs = f"{left:,} weaker pair{'s' if left > 1 else ''} and what found no" if left else "what found no"
        return text + f"; {pairs} counterpart make{'' if left else 's'} up the rest."
    if left == 0:
        return text + rest_clause(left)
    return text + f"; {left:,} weaker pair{'s make' if left > 1 else ' makes'} up the rest."


def pair_count(match: Match) -> int:
    """How many pairs of parts there are; for a part query, of its chosen cells."""
    return (match.maps_a.parts if match.chosen is None else len(match.chosen)) * match.maps_b.parts


def _reservations(match: Match) -> list[str]:
    sentences = []
    against = float(match.contributions[0].detach().clamp(max=0).sum())
    if against <= -NOTICEABLE:
        sentences.append(f"Pairs of dissimilar parts count against it: {number(against)} in total.")
    residual = scalar(match.residual)
    if abs(residual) >= NOTICEABLE:
        sentences.append(residual_sentence(residual, "pair of parts"))
    if not bool(match.converged[0]):
        sentences.append("The matching stopped before it had converged, so the numbers are approximate.")
    return sentences


def pair_lines(shown: Sequence[PartPair]) -> list[str]:
    """One line per pair of parts: its rank, where it lies in both images, what it contributes.

    Places are boxes `x0,y0-x1,y1` in pixels of the originals; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(pair.contribution) for pair in shown), default=0.0))
    return [
        f"{i:>3}  {place(pair.a, pair.a_box)}  \N{LEFT RIGHT ARROW}  {place(pair.b, pair.b_box)}"
        f"  {signed(pair.contribution, places)}  similarity {number(pair.similarity)}, mass {pair.mass:.3f}"
        for i, pair in enumerate(shown, start=1)
    ]
