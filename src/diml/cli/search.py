"""diml search: the images of an index that are most similar to one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diml.cli.options import (
    Eps,
    Json,
    Marginals,
    Mask,
    Mass,
    OptionalIndexes,
    Region,
    Transport,
    Weight,
    check_indexes,
    check_part,
    check_part_alone,
    existing,
    matching_settings,
    name_of,
    opened_index,
)
from diml.cli.output import print_json
from diml.cli.path_options import PATH, PLACE
from diml.cli.search_many import print_many
from diml.errors import ImageError, UsageError
from diml.query_text import parse_region, parse_search_shortlist

if TYPE_CHECKING:
    from diml.search import Hit


def search(
    *,
    index: OptionalIndexes = None,
    image: Annotated[
        str,
        typer.Argument(
            help="The image to look for; with --jsonl also what diml index takes: a folder, a table, ...",
            show_default=False,
            **PLACE,
        ),
    ],
    k: Annotated[int, typer.Option("-k", help="How many hits.")] = 10,
    shortlist: Annotated[
        str,
        typer.Option(
            help="Images re-ranked by matched parts: 0 keeps the ranking by pooled vectors; all; or proven, which "
            "gives the same as all and reads less of an index with sketches."
        ),
    ] = "100",
    where: Annotated[
        str | None, typer.Option(help="SQL condition on the columns, such as \"label = 'cat' AND width > 500\".")
    ] = None,
    region: Region = None,
    mask: Mask = None,
    marginals: Marginals = None,
    weight: Weight = None,
    eps: Eps = None,
    mass: Mass = None,
    transport: Transport = None,
    json: Json = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help="Search for each image of a folder or table; print a JSON line for each.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Write the hits: .html, .png, .svg or .pdf by its ending.", **PATH),
    ] = None,
) -> None:
    """Find the images of an index that are most similar to an image, and show why.

    Example: diml search photos.diml cat.jpg -k 5 --out hits.html

    Find a part of it, anywhere: diml search photos.diml cat.jpg --region 80,20,190,120 --shortlist all

    In several indices with one model, as in one: diml search part-*.diml cat.jpg

    Many images, a line of JSON for each: diml search photos.diml queries --jsonl > hits.jsonl
    """
    index = _given(index, image)
    if k < 1:
        raise UsageError(f"expected -k >= 1, got {k}")
    limit = parse_search_shortlist(shortlist)
    check_indexes(index)
    _check_image(image, jsonl, {"--json": json, "--out": out, "--region": region, "--mask": mask})
    check_part(region, mask)
    if region or mask:
        others = {"--marginals": marginals, "--mass": mass, "--transport": transport, "--weight": weight}
        check_part_alone(region, others)
    regions = [parse_region(text) for text in region or ()]
    from diml.data import printable
    from diml.explanation import PAGES, PICTURES, check_no_source, check_output

    if out is not None:
        check_output(out, (*PICTURES, *PAGES))
        check_no_source(out, [image] if mask is None else [image, mask])
    changes = matching_settings(marginals=marginals, mass=mass, transport=transport, weight=weight, eps=eps)
    opened = opened_index(index)
    if changes:
        opened = opened.with_matcher(**changes)
    if jsonl:
        print_many(opened, name_of(index), image, k=k, shortlist=limit, where=where)
        return
    found = opened.search(image, k=k, shortlist=limit, where=where, regions=regions, mask=mask)
    if out is not None:
        from diml.explanation import draw_hits

        draw_hits(found, out)
    if json:
        print_json(found.to_dict(index=name_of(index), query=str(image)))
        return
    if not found.hits:
        typer.echo("nothing was found" + (f" where {where}" if where else "; the index is empty"))
    else:
        typer.echo(
            "rank  similarity  structural  pooled  pooled_rank  margin  concentration  label  path"
            + ("  index" if opened.shards else "")
        )
    for hit in found:
        shard = "" if hit.shard is None else f"  {printable(hit.shard)}"
        typer.echo(f"{_numbers(hit)}  {printable(hit.label or '-')}  {printable(hit.path)}{shard}")
    if found.maps_read is not None:
        typer.echo(f"\n{found.maps_read:,} of {found.shortlist:,} maps were read")
    if out is not None:
        typer.echo(f"\nThe hits are in {printable(out)}")


def _given(index: list[str] | None, image: str) -> list[str]:
    if not index:
        raise UsageError(f"expected an index and then an image to look for, got {image} alone; give both")
    return index


def _check_image(image: str, jsonl: bool, others: Mapping[str, object]) -> None:
    """Refuse what is not there, several images without --jsonl, and with it what belongs to the result of one."""
    from diml.data.object_files import is_url
    from diml.data.packed import is_packed
    from diml.data.table_formats import is_table

    if not is_url(image):
        existing(Path(image), "image")
    if jsonl:
        for name, value in others.items():
            if value:
                raise UsageError(
                    f"{name} cannot be combined with --jsonl, which prints a line of JSON for each image; leave it out"
                )
    elif os.path.isdir(image) or is_table(image) or is_packed(image):
        what = "folder" if os.path.isdir(image) else "table" if is_table(image) else "tar"
        raise ImageError(f"{image}: is a {what}, expected one image; add --jsonl to look for each image in it")


def _numbers(hit: Hit) -> str:
    margin = "-" if hit.margin is None else f"{hit.margin:.4f}"
    similarities = f"{hit.rank:>4}  {hit.similarity:>10.4f}  {hit.structural:>10.4f}  {hit.pooled:>6.3f}"
    return f"{similarities}  {hit.pooled_rank:>11}  {margin:>6}  {hit.concentration:>13.3f}"
