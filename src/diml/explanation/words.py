"""Numbers and sentences as all explanations write them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Below this a residual is rounding: contributions sum to the similarity within 1e-5 in float32.
NOTICEABLE = 5e-4

CAVEAT = "This explains the score, not the world: it shows what the model compared."

SCALE = "1 means identical, 0 unrelated, below 0 opposed."


@dataclass(frozen=True)
class Words:
    """An explanation in words.

    Attributes:
        headline: a name and its number, such as `("Similarity", "0.894")`: in pictures it stands above in large type.
        sentences: the rest, one or two sentences each; they do not repeat the headline.
    """

    headline: tuple[str, str]
    sentences: list[str]

    def lines(self) -> list[str]:
        """The sentences, the first one introduced by the headline.

        >>> Words(("Similarity", "0.894"), ["1 means identical.", "All of it comes from one part."]).lines()
        ['Similarity 0.894: 1 means identical.', 'All of it comes from one part.']
        """
        name, value = self.headline
        return [f"{name} {value}: {self.sentences[0]}", *self.sentences[1:]]


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
    """How many decimals show numbers up to `largest`: two significant ones of the largest, from 3 to 6.

    >>> digits(0.71), digits(0.0016)
    (3, 4)
    """
    return next((n for n in range(3, 6) if abs(largest) >= 0.95 * 10.0 ** (1 - n)), 6)


def signed(value: float, digits: int = 3) -> str:
    """As `number`, with a plus sign before positive numbers.

    >>> signed(0.041), signed(0.0)
    ('+0.041', '0.000')
    """
    text = number(value, digits)
    return "+" + text if value > 0 and float(text) != 0 else text


def percent(part: float, whole: float) -> str:
    """A part as a share of a positive whole; empty where the whole is not positive, as a share then means nothing.

    >>> percent(0.2, 0.8), percent(0.005, 0.8), percent(0.2, -0.1)
    ('25 %', '0.6 %', '')
    """
    if whole < NOTICEABLE:
        return ""
    share = 100 * part / whole
    return f"{number(share, 0 if abs(share) >= 9.95 else 1)} %"


def place(cell: tuple[int, int], box: Sequence[float] | None) -> str:
    """Where a part lies: its box, or its row and column (from 0) where that is unknown.

    >>> place((0, 1), (10.0, 0.0, 20.0, 9.6)), place((0, 1), None)
    ('10,0-20,10', 'row 0 column 1')
    """
    if box is None:
        return f"row {cell[0]} column {cell[1]}"
    x0, y0, x1, y1 = (f"{edge:.0f}" for edge in box)
    return f"{x0},{y0}-{x1},{y1}"


def rest_clause(left: int) -> str:
    """How a sentence on listed parts ends, with the number of those that are not listed.

    >>> rest_clause(10), rest_clause(0)
    ('; the other 10 make up the rest.', '; there are no others.')
    """
    return f"; the other {left:,} make up the rest." if left else "; there are no others."


def residual_sentence(residual: float, of: str) -> str:
    """Why the contributions do not sum to the similarity."""
    return (
        f"{signed(residual)} belongs to no {of} "
        "(the residual: this model does not pool an image by the mean of its parts)."
    )


def without_middle(text: str, keep: int) -> str:
    """The first and last characters around an ellipsis, `keep` of them in total; the text itself if it is that short.

    >>> without_middle("abcdefgh.jpg", 6)
    'abc…jpg'
    """
    if len(text) <= keep + 1:
        return text
    tail = keep // 2
    return text[: keep - tail] + "\N{HORIZONTAL ELLIPSIS}" + (text[-tail:] if tail else "")
