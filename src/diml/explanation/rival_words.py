"""What another method says of a pair of images, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from diml.explanation.words import NOTICEABLE, SCALE, digits, number, place, signed

if TYPE_CHECKING:
    from diml.explanation.rival_document import HeatCell, RivalAnswer

_OTHER = "it is of a similarity under this setting, which need not be the one that the model ranks by"
_CONTROL = "it is a control and says nothing of these images"

# What each method does, and what its numbers do not say.
IN_WORDS: Mapping[str, tuple[str, str]] = {
    "structural": (
        "what the matched parts contribute to the similarity",
        "it does not say what would happen if a part were hidden",
    ),
    "structural-only": ("what the matched parts contribute, with no share for the images as a whole", _OTHER),
    "structural-uniform": ("what the matched parts contribute, where all parts weigh the same", _OTHER),
    "structural-cross": ("what the matched parts contribute, weighed by cross-correlation", _OTHER),
    "structural-partial": ("what the matched parts contribute, where half of their mass is matched", _OTHER),
    "contributions": (
        "which pairs of parts contribute most to the similarity",
        "it has no heat, and pairs that count against the similarity are left out",
    ),
    "bilinear": (
        "the pooled similarity, taken apart into the products of all cells",
        "it says nothing of the matched parts",
    ),
    "grad-cam": (
        "the gradient of the similarity at the backbone's last map, times that map",
        "it does not say how much a cell brings, nor what counts against the similarity",
    ),
    "sbsm": (
        "how far the similarity falls when a cell of A is painted over with the mean colour",
        "it says nothing of B, and what the cells take away need not add up to the similarity",
    ),
    "nearest": (
        "every part with the part of the other image that is most like it",
        "it is not of the similarity that the model ranks by, and one part may serve many",
    ),
    "emd": (
        "every part moved to where the matching costs least, without entropy",
        "it is not of the similarity that the model ranks by, which is softer and may hold a pooled share",
    ),
    "identity": ("every part with what lies at the same place of the other image", _CONTROL),
    "centre": ("the nearer to the middle, the more", _CONTROL),
    "random": ("chance", _CONTROL),
}


def method_in_words(name: str) -> tuple[str, str]:
    """What a method does, and what its numbers do not say; of a method that is not one of ours, next to nothing.

    >>> method_in_words("random")
    ('chance', 'it is a control and says nothing of these images')
    """
    return IN_WORDS.get(name, ("a method of your own", "what its numbers do not say is for you to know"))


def describe_method(name: str) -> list[str]:
    """The method by name and in words, and what its numbers do not say: two sentences.

    >>> describe_method("centre")
    ['Method centre: the nearer to the middle, the more.', 'It is a control and says nothing of these images.']
    """
    does, lacks = method_in_words(name)
    return [f"Method {name}: {does}.", f"{lacks[0].upper()}{lacks[1:]}."]


def describe_rival(answer: RivalAnswer) -> list[str]:
    """The similarity of one pair of images and what of it the method accounts for, a sentence or two per line."""
    lines = [f"Similarity {number(answer.similarity)}: {SCALE}"]
    lines.append(_account(answer))
    if not bool(answer.match.converged[0]):
        lines.append("The matching stopped before it had converged, so the similarity is approximate.")
    return lines


def _account(answer: RivalAnswer) -> str:
    found = answer.found
    if found.heat_a is None:
        return "The method accounts for nothing: it gives no heat, only which parts correspond."
    if found.total is None or found.residual is None:
        return "The method accounts for nothing: its heat adds up to no number, and only the order of the cells counts."
    other = abs(found.total - answer.similarity) >= NOTICEABLE
    text = (
        f"The method accounts for the {found.accounts_for}, {number(found.total)}"
        f"{', which is not the similarity above' if other else ''}: "
        f"the cells of A add up to {number(float(found.heat_a.double().sum()))}"
    )
    if found.heat_b is not None:
        text += f", those of B to {number(float(found.heat_b.double().sum()))}"
    return f"{text}. The residual, of A, is {signed(found.residual)}."


def describe_rival_parts(answer: RivalAnswer, parts: int = 6) -> list[str]:
    """The strongest cells of A, of B where there is a heat for it, and pairs of parts, each under a line of its own.

    Places are boxes `x0,y0-x1,y1` in pixels of the originals; row and column (from 0) where these are unknown.

    Args:
        parts: how many of each, at most, from 1.
    """
    found, lines = answer.found, list[str]()
    if found.heat_a is not None:
        lines += ["", *_cells("A", answer.cells_a(parts))]
    if found.heat_b is not None:
        lines += ["", *_cells("B", answer.cells_b(parts))]
    if found.correspondence is not None:
        lines += ["", *_pairs(answer, parts)]
    return lines[1:]


def _cells(name: str, shown: Sequence[HeatCell]) -> list[str]:
    if not shown:
        return [f"The heat of {name} is 0 everywhere."]
    places = digits(max(abs(each.value) for each in shown))
    return [
        _heading(len(shown), "cell", f" of {name}"),
        *(
            f"{i:>3}  {place(each.cell, each.box)}  {signed(each.value, places)}"
            for i, each in enumerate(shown, start=1)
        ),
    ]


def _pairs(answer: RivalAnswer, parts: int) -> list[str]:
    shown = answer.pairs(parts)
    if not shown:
        return ["No part corresponds to any."]
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
