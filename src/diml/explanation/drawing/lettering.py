"""Text that fits: what a font can show, how wide it is, where to break and what to leave out."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TYPE_CHECKING

from diml.explanation.words import without_middle

if TYPE_CHECKING:
    from matplotlib.font_manager import FontProperties

# Shipped with matplotlib; the fallbacks, where installed, cover scripts that it lacks.
FONT = "DejaVu Sans"
FALLBACKS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Arial Unicode MS",
)
# Letters are rounded to whole pixels, which makes a line up to this much wider.
HINTING = 1.08


@cache
def _characters(name: str) -> frozenset[int]:
    """The codepoints that a font has both in regular and in bold; none where it is not installed."""
    from matplotlib.font_manager import FontProperties, fontManager, get_font

    if name not in {entry.name for entry in fontManager.ttflist}:
        return frozenset()
    weights = (FontProperties(family=name, weight=weight) for weight in ("normal", "bold"))
    upright, bold = (frozenset(get_font(fontManager.findfont(each)).get_charmap()) for each in weights)
    return upright & bold


def _fonts_for(text: str) -> list[str]:
    """The default font, and where it lacks characters the installed fallback that covers most of them."""
    lacking = {ord(character) for character in text} - _characters(FONT)
    if not lacking:
        return [FONT]
    best = max(FALLBACKS, key=lambda name: len(lacking & _characters(name)))
    return [FONT, best] if lacking & _characters(best) else [FONT]


def legible(text: str) -> tuple[str, list[str]]:
    """A text that can be shown, and the names of the fonts for it.

    Control and direction characters (a file name may contain them) become spaces or are removed; characters that no
    font can show are escaped.

    >>> legible("a$b\\n.jpg")
    ('a$b .jpg', ['DejaVu Sans'])
    >>> print(legible("\\U0010fffd.jpg")[0])
    \\U0010fffd.jpg
    """
    kinds = {character: unicodedata.category(character) for character in text}
    text = "".join(" " if kinds[c] in ("Cc", "Zl", "Zp") else c for c in text if kinds[c] != "Cf")
    fonts = _fonts_for(text)
    known = frozenset[int]().union(*(_characters(name) for name in fonts))
    return "".join(c if ord(c) in known else _escaped(c) for c in text), fonts


def _escaped(character: str) -> str:
    """As Python escapes it; a byte of a name that is not UTF-8 is written as that byte.

    >>> print(_escaped("\\u65e5"), _escaped("\\udcff"))
    \\u65e5 \\xff
    """
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode("ascii")


def properties(text: str, size: float, bold: bool = False) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=legible(text)[1], size=size, weight="bold" if bold else "normal")


def width(text: str, size: float, bold: bool = False) -> float:
    """An upper bound of the width of a legible text in inches, at a size in points."""
    from matplotlib.textpath import text_to_path

    measured: float = text_to_path.get_text_width_height_descent(text, properties(text, size, bold), ismath=False)[0]
    return measured / 72 * HINTING


def shorten(text: str, inches: float, size: float, bold: bool = False) -> str:
    """The text, legible; without its middle if it is too wide (both ends of a file name tell most).

    >>> shorten("DSC_0001.jpg", 1.5, 10)
    'DSC_0001.jpg'
    """
    text = legible(text)[0]
    if width(text, size, bold) <= inches:
        return text
    # Hardly a letter is narrower than a tenth of its size, which bounds the search.
    few, many = 0, min(len(text) - 1, int(inches * 72 / size * 10))
    while few < many:
        middle = (few + many + 1) // 2
        if width(without_middle(text, middle), size, bold) <= inches:
            few = middle
        else:
            many = middle - 1
    return without_middle(text, few)


def wrap(text: str, inches: float, size: float) -> list[str]:
    """Lines no wider than `inches`, broken at spaces; a single word that is too wide is shortened."""
    lines: list[str] = []
    for word in legible(text)[0].split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, size) <= inches:
            lines[-1] = longer
        else:
            lines.append(shorten(word, inches, size))
    return lines
