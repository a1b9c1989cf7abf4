"""The text beside the images of a picture: a number in large type, sentences, a table of what is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diml.explanation.drawing.page import EDGE, FAINT, HATCH, HATCHED, Page, leading, paragraphs
from diml.explanation.marks import Tag
from diml.explanation.words import CAVEAT, Words, digits, signed

# All in inches.
COLUMN = 3.9
ROW = 0.27
# A bar that is shorter does not hold the name of its row.
NAMED = 0.95
BODY, SMALL = 10.0, 8.5
# Of rows without a tag.
UNMARKED = "#d9d9d9"
# The table has room for so many rows; no more marks are drawn, as nobody could tell them apart.
MOST_ROWS = 16


@dataclass(frozen=True)
class Row:
    """A line of the table: the tag of what is marked, what it contributes, and a note.

    Without a tag the row is of what is not marked, and `name` says what that is; `hatched`, how images show it.
    """

    tag: Tag | None
    value: float
    note: str = ""
    name: str = ""
    hatched: bool = False


@dataclass(frozen=True)
class TextColumn:
    """A column of text, broken into lines, so that its height is known before the page is made."""

    headline: tuple[str, str]
    sentences: list[list[str]]
    title: str
    how: list[str]
    caveat: list[str]
    rows: list[Row]

    @classmethod
    def of(cls, words: Words, title: str, how: str, rows: Sequence[Row], caveat: str = CAVEAT) -> TextColumn:
        """The words of an explanation, and a table with its title and how to read it."""
        small, last = paragraphs([how, caveat], COLUMN, SMALL)
        return cls(words.headline, paragraphs(words.sentences, COLUMN, BODY), title, small, last, list(rows))

    @property
    def height(self) -> float:
        lines = sum(len(each) for each in self.sentences) * leading(BODY) + len(self.sentences) * 0.08
        table = 0.5 + len(self.how) * leading(SMALL) + len(self.rows) * ROW
        return 1.25 + lines + table + 0.2 + len(self.caveat) * leading(SMALL)

    def draw(self, page: Page, x: float, y: float) -> None:
        page.text(x, y, self.headline[0], 12, color=FAINT)
        page.text(x, y + 0.22, self.headline[1], 44, weight="bold")
        y += 1.05
        for lines in self.sentences:
            y = page.paragraph(x, y, lines, BODY) + 0.08
        y += 0.15
        page.text(x, y, self.title, 12, weight="bold")
        y = page.paragraph(x, y + 0.26, self.how, SMALL, color=FAINT) + 0.12
        strongest = max((abs(row.value) for row in self.rows), default=0.0)
        for row in self.rows:
            _draw_row(page, x, y, row, strongest)
            y += ROW
        page.paragraph(x, y + 0.08, self.caveat, SMALL, color=FAINT)


def _draw_row(page: Page, x: float, y: float, row: Row, strongest: float) -> None:
    from matplotlib.patches import Rectangle

    if row.tag is not None:
        page.badge(x + 0.11, y + 0.09, row.tag)
    elif row.hatched:
        _swatch(page, x + 0.02, y + 0.18)
    page.text(x + 0.95, y + 0.09, signed(row.value, digits(strongest)), 9.5, ha="right", va="center")
    page.text(x + 1.05, y + 0.09, row.note, 9.5, color=FAINT, va="center")
    longest = COLUMN - 2.0
    length = longest * abs(row.value) / strongest if strongest > 0 else 0.0
    at, (wide, tall) = page.place(x + 2.0, y + 0.16), (length / page.width, 0.14 / page.height)
    colour, dashed = (UNMARKED, row.value < 0) if row.tag is None else (row.tag.colour, row.tag.dashed)
    bar = Rectangle(at, wide, tall, facecolor=colour, edgecolor="black", linewidth=0.4)
    bar.set(hatch="////" if dashed else None, transform=page.figure.transFigure)
    page.figure.add_artist(bar)
    # A bar that is too short for the name has it beside it, where it crosses no edge.
    page.text(x + 2.05 + (length if length < NAMED else 0), y + 0.085, row.name, 7.5, va="center")


def _swatch(page: Page, x: float, y: float) -> None:
    """A hatched square: how images show what found no counterpart; (x, y) is its lower left corner."""
    from matplotlib.patches import Rectangle

    square = Rectangle(page.place(x, y), 0.18 / page.width, 0.18 / page.height, facecolor="none", edgecolor=HATCHED)
    square.set(hatch=HATCH * 2, linewidth=0.0, transform=page.figure.transFigure)
    frame = Rectangle(page.place(x, y), 0.18 / page.width, 0.18 / page.height, fill=False, edgecolor=EDGE)
    frame.set(linewidth=0.6, transform=page.figure.transFigure)
    for patch in (square, frame):
        page.figure.add_artist(patch)
