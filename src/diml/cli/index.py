"""diml index: embed a collection into an index."""

from __future__ import annotations

from typing import Annotated

import typer

from diml.cli.engines import Address, EngineName, Workers, check_engine, running_engine
from diml.cli.options import Backend, BitDepth, Device, Grid, Weights, check_indexes, load_model, parse_grid
from diml.cli.output import progress_bar, report_skipped
from diml.cli.path_options import PLACE
from diml.errors import StoreError, UsageError


def index(
    images: Annotated[
        list[str],
        typer.Argument(
            help="A folder of images, or a table (CSV, TSV, JSON lines, Parquet) with a column path; or what holds "
            "images: tars, a pattern such as 'shard-{000..123}.tar', Parquet files, Lance datasets. They may be on an "
            "object store: s3://bucket/photos.",
            show_default=False,
            **PLACE,
        ),
    ],
    into: Annotated[
        str,
        typer.Option(
            "--into",
            help="The index, such as photos.diml, or s3://bucket/photos.diml on an object store; made if it does not "
            "exist.",
            **PLACE,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="As in explain; by default that of the index, for a new index lite0."),
    ] = None,
    grid: Grid = None,
    dim: Annotated[
        int | None,
        typer.Option(
            help="Numbers per part of the head that is fitted for a model without one: 128 in a new index; 0 for none."
        ),
    ] = None,
    labels_from: Annotated[
        str | None, typer.Option(help='"folder" (the class folder of each path), or a table with path, label, ...')
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Drop images that are no longer in the collection.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail at the first image that cannot be read.")] = False,
    batch_size: Annotated[int, typer.Option(help="Images per pass of the model.")] = 32,
    codes: Annotated[
        str | None,
        typer.Option(
            help="How maps are stored: float16 in a new index; int8, int4, pq32 (32 bytes a part), pool8+pq32 (8 "
            "vectors an image) take less room."
        ),
    ] = None,
    thumbnails: Annotated[
        bool | None,
        typer.Option("--thumbnails/--no-thumbnails", help="Store a small picture of each image, or not."),
    ] = None,
    sketches: Annotated[
        bool | None,
        typer.Option("--sketches/--no-sketches", help="Store a quarter of each map once more, for --shortlist proven."),
    ] = None,
    recode: Annotated[
        str | None,
        typer.Option(help="Copy an index, given as FOLDER, into another that stores its maps in these codes."),
    ] = None,
    weights: Weights = None,
    bit_depth: BitDepth = None,
    device: Device = "auto",
    backend: Backend = "auto",
    engine: EngineName = "local",
    address: Address = None,
    workers: Workers = None,
) -> None:
    """Bring an index up to a collection: embed what is new or changed, leave the rest. Run it again to continue.

    Example: diml index photos --into photos.diml --labels-from folder

    Of the tars of a WebDataset: diml index 'shard-{000..123}.tar' --into photos.diml

    A smaller copy of an index: diml index photos.diml --into small.diml --recode pool8+pq32
    """
    if batch_size < 1:
        raise UsageError(f"expected --batch-size >= 1, got {batch_size}")
    check_engine(engine, address, workers)
    shape = None if grid is None else parse_grid(grid)
    if recode is not None:
        others = (model, grid, dim, labels_from, weights, bit_depth, codes, prune or None, strict or None)
        if any(value is not None for value in others) or engine != "local":
            raise UsageError("--recode copies an index as it is; combine it with --into, --no-thumbnails, --sketches")
        if len(images) > 1:
            raise UsageError(f"--recode copies one index, got {len(images)}; name one")
        return _recode(images[0], into, recode, thumbnails, sketches)
    from diml.search import Index, index_folder
    from diml.search.as_collection import as_collection
    from diml.search.folder import check_same_form
    from diml.search.manifest import is_index
    from diml.search.places import index_place

    collection = as_collection(images[0] if len(images) == 1 else images, labels_from)
    place = index_place(into)
    if is_index(place):
        Index.open(place)  # errors of the index are raised before a model is loaded
        _check_weights(into, weights)
        check_same_form(place, codes, thumbnails, sketches)
    chosen = model or (into if is_index(place) else "lite0")
    loaded = load_model(chosen, weights=weights, bit_depth=bit_depth, device=device, backend=backend)
    with running_engine(engine, address, workers) as running, progress_bar("embedding") as progress:
        made, report = index_folder(
            collection,
            into,
            model=loaded,
            grid=shape,
            dim=dim,
            prune=prune,
            strict=strict,
            batch_size=batch_size,
            codes=codes,
            thumbnails=thumbnails,
            sketches=sketches,
            progress=progress,
            engine=running,
        )
    report_skipped(report.skipped, collection.notes)
    done = {
        "added": report.added,
        "changed": report.changed,
        "relabelled": report.relabelled,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "skipped": len(report.skipped),
    }
    counts = ", ".join(f"{count} {name}" for name, count in done.items() if count or name == "added")
    rate = f", {report.images_per_second:.1f} images/s" if report.images_per_second else ""
    typer.echo(f"{into}: {counts}; {len(made)} images in all{rate}")


def _recode(index: str, into: str, codes: str, thumbnails: bool | None, sketches: bool | None) -> None:
    from diml.search import recode

    check_indexes([index])
    with progress_bar("copying") as progress:
        made = recode(index, into, codes, thumbnails=thumbnails, sketches=sketches, progress=progress)
    held = made.stats().row_bytes
    typer.echo(f"{into}: {len(made)} images, {held['map']:,.0f} bytes of map each, {sum(held.values()):,.0f} in all")


def _check_weights(into: str, weights: str | None) -> None:
    from diml.search.manifest import Manifest
    from diml.search.places import index_place

    stored = Manifest.read(index_place(into)).weights
    if weights not in (None, stored):
        raise StoreError(
            f"expected weights {stored}, those of {into}, got {weights}; leave the weights out, or make another index"
        )
