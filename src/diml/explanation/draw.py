"""Drawing what lies below explanations: the hits of a search, the groups of an index, and a match."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from diml.explanation.files import PAGES, check_output, save_page, write
from diml.explanation.images import NamedImage
from diml.explanation.pair import PairExplanation

if TYPE_CHECKING:
    from diml.matching import Match
    from diml.model import Source
    from diml.search import Pair, Pairs, SearchResult


def draw_match(
    match: Match,
    path: str | os.PathLike[str],
    a: Source | NamedImage | None = None,
    b: Source | NamedImage | None = None,
    *,
    parts: int | None = None,
) -> None:
    """Draw why two images are similar; the same as `PairExplanation(match, ...).draw(path)`.

    Args:
        match: of this pair of images; best from `model.explain`.
        path: what to write: .png, .svg, .pdf or .html.
        a, b: the images, or smaller copies of them; without them grey boxes are drawn.
        parts: draw so many of the strongest pairs of parts in place of the regions that correspond, from 1.

    Raises:
        UsageError: the match is not of one pair of images, `parts` is below 1, another ending, or a folder that does
            not exist.
        ImageError: an image cannot be read.
        DimlError: the file cannot be written.
    """
    first, second = NamedImage.of(a, "first image"), NamedImage.of(b, "second image")
    PairExplanation(match, first, second).draw(path, parts)


def draw_hits(result: SearchResult, path: str | os.PathLike[str], *, parts: int | None = None) -> None:
    """Draw the hits of a search, each beside the query, with the regions of both that correspond.

    Args:
        result: of `index.search`, which knows its query.
        path: what to write: .png, .svg, .pdf or .html.
        parts: draw so many of the strongest pairs of parts of each hit in place of the regions, from 1.

    Raises:
        UsageError: `parts` is below 1, another ending, or a folder that does not exist.
        DimlError: the file cannot be written.
    """
    from diml.explanation.drawing import hits_figure
    from diml.explanation.html import hits_page

    write(path, lambda: hits_figure(result, parts), lambda: hits_page(result, parts))


def draw_groups(search: Pairs, found: Sequence[Pair], path: str | os.PathLike[str]) -> None:
    """Draw the groups that pairs of an index form, with thumbnails and the similarity of each pair.

    Args:
        search: of `index.pairs`.
        found: the pairs that it found, or some of them.
        path: what to write: .html.

    Raises:
        UsageError: another ending, or a folder that does not exist.
        StoreError: one of the images is not stored any more.
        DimlError: the file cannot be written.
    """
    from diml.explanation.html import groups_page

    check_output(path, PAGES)
    save_page(groups_page(search, found), path)
