"""The groups that pairs of an index form, as one self-contained HTML page, without requests and scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from diml.explanation.hits import BOTH, CONDITION
from diml.explanation.html.page import fill, jpeg_uri, template, text
from diml.explanation.images import NO_IMAGE
from diml.explanation.words import SCALE, number, without_middle

if TYPE_CHECKING:
    from diml.search import Group, Pair, Pairs

# What a page shows at most: groups, and the images and the pairs of a group.
GROUPS, IMAGES, PAIRS = 100, 24, 100
READING = f"Each image is similar to at least one other of its group. {SCALE} {BOTH}"


def groups_page(search: Pairs, found: Sequence[Pair]) -> str:
    """A self-contained HTML page of the groups, the largest first, for wide and narrow screens, in light and dark.

    It shows at most 100 groups, with at most 24 images and the 100 most similar pairs of each, and says how many there
    are.

    Args:
        search: of `index.pairs`.
        found: the pairs that it found, or some of them.

    Returns:
        The page; `draw_groups(search, found, "groups.html")` writes it.

    Raises:
        StoreError: one of the images is not stored any more.
    """
    from diml.search import Groups

    groups = Groups(found).largest_first()
    shown = groups[:GROUPS]
    pairs = _pairs_of(shown, found)
    paths = [path for group in shown for path in group.paths[:IMAGES]]
    thumbnails = dict(zip(paths, search.thumbnails(paths) if paths else [], strict=True))
    values = {
        "name": text(search.name),
        "found": text(_found(search, groups, len(found))),
        "reading": text(READING if groups else "Nothing was found."),
        "groups": "\n".join(
            _section(rank, group, those, thumbnails)
            for rank, (group, those) in enumerate(zip(shown, pairs, strict=True), start=1)
        ),
    }
    return fill(template("groups.html"), values)


def _pairs_of(groups: Sequence[Group], found: Sequence[Pair]) -> list[list[Pair]]:
    """The pairs of each group, the most similar first."""
    place = {path: at for at, group in enumerate(groups) for path in group.paths}
    pairs: list[list[Pair]] = [[] for _ in groups]
    for pair in found:
        if pair.a in place:
            pairs[place[pair.a]].append(pair)
    return [sorted(each, key=lambda pair: (-pair.similarity, pair.a, pair.b)) for each in pairs]


def _found(search: Pairs, groups: Sequence[Group], pairs: int) -> str:
    where = "" if search.where is None else f" where {without_middle(search.where, CONDITION)}"
    said = (
        f"{_count(pairs, 'pair')} of similarity {search.above:g} or above, in {_count(len(groups), 'group')} of "
        f"{_count(sum(map(len, groups)), 'image')}, among {_count(len(search.vectors), 'image')}{where}."
    )
    return said + (f" The {GROUPS} largest of {len(groups):,} groups are shown." if len(groups) > GROUPS else "")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _section(rank: int, group: Group, pairs: Sequence[Pair], thumbnails: Mapping[str, bytes]) -> str:
    images = "".join(_image(path, thumbnails[path]) for path in group.paths[:IMAGES])
    left = len(group) - IMAGES
    more = f'<p class="faint">{IMAGES} of {len(group):,} images are shown.</p>' if left > 0 else ""
    shown = pairs[:PAIRS]
    of = "" if len(shown) == len(pairs) else f"The {PAIRS} most similar of "
    spread = number(pairs[0].similarity) + (f" to {number(pairs[-1].similarity)}" if len(pairs) > 1 else "")
    opened = " open" if len(pairs) == 1 else ""
    return (
        f'<section aria-labelledby="group-{rank}"><h2 id="group-{rank}">Group {rank}: {_count(len(group), "image")}'
        f"</h2>\n"
        f'<p class="faint">Similarity {spread}</p>\n<ul class="images">{images}</ul>{more}\n'
        f"<details{opened}><summary>{of}{_count(len(pairs), 'pair')}</summary>\n"
        f'<div class="wide" tabindex="0" role="region" aria-label="Pairs of group {rank}">{_table(shown)}</div>'
        f"</details></section>"
    )


def _image(path: str, thumbnail: bytes) -> str:
    shown = (
        f'<img src="{jpeg_uri(thumbnail)}" alt="{text(path)}" loading="lazy">'
        if thumbnail
        else f'<span class="none" role="img" aria-label="{text(path)}: {NO_IMAGE}">{NO_IMAGE}</span>'
    )
    return f'<li>{shown}<p class="path"><bdi>{text(path)}</bdi></p></li>'


def _table(pairs: Sequence[Pair]) -> str:
    directed = any(pair.direction is not None for pair in pairs)
    names = ["similarity", "whole", "parts"]
    head = "".join(f'<th scope="col" class="figure">{name}</th>' for name in names)
    head += "".join(f'<th scope="col">{name}</th>' for name in ["a", "b", *(["matched"] if directed else [])])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, pairs))}</tbody></table>"


def _row(pair: Pair) -> str:
    figures = (pair.similarity, pair.pooled, pair.structural)
    cells = "".join(f'<td class="figure">{number(value)}</td>' for value in figures)
    cells += "".join(f"<td><bdi>{text(path)}</bdi></td>" for path in (pair.a, pair.b))
    return f"<tr>{cells}{'' if pair.direction is None else f'<td>{pair.direction}</td>'}</tr>"
