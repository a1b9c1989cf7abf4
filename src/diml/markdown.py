"""Markdown tables that can also be read as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# A rule such as `--:` needs this many characters.
NARROWEST = 3


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1) -> str:
    """A table whose columns are padded to one width.

    Args:
        header: the names of the columns.
        rows: cells as text, one for each column.
        left: the first so many columns are words, aligned to the left; the others are numbers, aligned to the right.

    Raises:
        ValueError: a row has more or fewer cells than the header.

    >>> print(table(["method", "area"], [["random", "0.5"], ["structural", "0.625"]]))
    | method     |  area |
    | :--------- | ----: |
    | random     |   0.5 |
    | structural | 0.625 |
    """
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    widths = [max(NARROWEST, *map(len, column)) for column in zip(*lines, strict=True)]
    rules = [":" + "-" * (w - 1) if at < left else "-" * (w - 1) + ":" for at, w in enumerate(widths)]
    return "\n".join(_line(cells, widths, left) for cells in (lines[0], rules, *lines[1:]))


def _line(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = [
        cell.ljust(w) if at < left else cell.rjust(w) for at, (cell, w) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"
