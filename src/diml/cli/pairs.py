"""diml pairs: the near-duplicates of an index, and the groups that they form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diml.cli.options import (
    Eps,
    Indexes,
    Json,
    Marginals,
    Mass,
    Transport,
    Weight,
    check_indexes,
    matching_settings,
    name_of,
    opened_index,
)
from diml.cli.output import print_json
from diml.cli.path_options import PATH
from diml.errors import UsageError

if TYPE_CHECKING:
    from diml.search import Group, Pair, Pairs

# A run that is expected to take or to find more is announced.
LONG_SECONDS, MANY_PAIRS = 600, 100_000


def pairs(
    index: Indexes,
    above: Annotated[float, typer.Option(help="The least similarity, above -1 and up to 1.")] = 0.9,
    where: Annotated[
        str | None,
        typer.Option(help="SQL condition on the columns that both images meet, such as \"label = 'cat'\"."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Stop after so many pairs, the first ones by path.", show_default=False)
    ] = None,
    marginals: Marginals = None,
    weight: Weight = None,
    eps: Eps = None,
    mass: Mass = None,
    transport: Transport = None,
    json: Json = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON document a pair, as it is found.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the groups of the pairs as a page: .html.", **PATH)
    ] = None,
) -> None:
    """Find the images of an index that are alike, such as near-duplicates: every pair, and the groups they form.

    Example: diml pairs photos.diml --above 0.95 --out groups.html
    """
    check_answer(json, jsonl, limit)
    check_indexes(index)
    from diml.explanation import PAGES, check_output, draw_groups
    from diml.search import Groups

    if out is not None:
        check_output(out, PAGES)
    changes = matching_settings(marginals=marginals, mass=mass, transport=transport, weight=weight, eps=eps)
    opened = opened_index(index)
    search = (opened.with_matcher(**changes) if changes else opened).pairs(above, where)
    announce(search)
    found: list[Pair] = []
    groups, number = Groups(), 0
    if not (json or jsonl):
        typer.echo("similarity  structural  pooled  a  b" + ("" if search.matcher.symmetric else "  direction"))
    for number, pair in enumerate(search, start=1):
        groups.join(pair.a, pair.b)
        if json or out is not None:
            found.append(pair)
        if jsonl:
            print_json(pair.to_dict())
        elif not json:
            typer.echo(_line(pair))
        if number == limit:
            break
    joined = groups.largest_first()
    if out is not None:
        draw_groups(search, found, out)
    if json:
        document = {"index": name_of(index), "where": where, "above": search.above, "images": len(search.vectors)}
        listed = {"pairs": [pair.to_dict() for pair in found], "groups": [list(group.paths) for group in joined]}
        print_json({**document, **listed})
    elif not jsonl:
        typer.echo(_summary(number, joined, number == limit, out))


def check_answer(json: bool, jsonl: bool, limit: int | None) -> None:
    if json and jsonl:
        raise UsageError("--json and --jsonl cannot be combined; use one of them")
    if limit is not None and limit < 1:
        raise UsageError(f"expected --limit >= 1, got {limit}")


def announce(search: Pairs) -> None:
    """Say on standard error what to expect of a run that takes long or finds many pairs."""
    images = len(search.vectors)
    if images * (images - 1) // 2 <= MANY_PAIRS:
        return
    expected = search.estimate()
    if expected.seconds > LONG_SECONDS or expected.found > MANY_PAIRS:
        typer.echo(
            f"about {_about(expected.found)} pairs of {images:,} images are expected at {search.above:g} or above, in "
            f"about {_duration(expected.seconds)}; a larger --above is faster",
            err=True,
        )


def _about(value: float) -> str:
    """Two significant digits, as an estimate has no more.

    >>> _about(123456), _about(7)
    ('120,000', '7')
    """
    return f"{int(float(f'{value:.2g}')):,}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{_about(seconds / 3600)} hours"


def _line(pair: Pair) -> str:
    from diml.data import printable

    direction = "" if pair.direction is None else f"  {pair.direction}"
    numbers = f"{pair.similarity:>10.4f}  {pair.structural:>10.4f}  {pair.pooled:>6.3f}"
    return f"{numbers}  {printable(pair.a)}  {printable(pair.b)}{direction}"


def _summary(number: int, groups: list[Group], stopped: bool, out: Path | None) -> str:
    from diml.data import printable

    images = sum(len(group) for group in groups)
    counted = f"{number:,} pair{'' if number == 1 else 's'} in {len(groups):,} group{'' if len(groups) == 1 else 's'}"
    written = "" if out is None else f"\n\nThe groups are in {printable(out)}"
    return f"{counted} of {images:,} images{', stopped at the limit' if stopped else ''}{written}"
