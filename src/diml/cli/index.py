"""diml index: embed a collection into an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import Backend, BitDepth, Device, Grid, Weights, load_model, parse_grid
from diml.cli.output import progress_bar, report_skipped
from diml.cli.path_options import PATH
from diml.errors import StoreError, UsageError


def index(
    folder: Annotated[
        Path,
        typer.Argument(
            help="A folder of images, or a table (CSV, TSV, JSON lines, Parquet) with a column path.",
            show_default=False,
            **PATH,
        ),
    ],
    into: Annotated[
        Path, typer.Option("--into", help="The index, such as photos.diml; made if it does not exist.", **PATH)
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
    weights: Weights = None,
    bit_depth: BitDepth = None,
    device: Device = "auto",
    backend: Backend = "auto",
) -> None:
    """Bring an index up to a collection: embed what is new or changed, leave the rest. Run it again to continue.

    Example: diml index photos --into photos.diml --labels-from folder
    """
    if batch_size < 1:
        raise UsageError(f"expected --batch-size >= 1, got {batch_size}")
    shape = None if grid is None else parse_grid(grid)
    from diml.search import Index, index_folder
    from diml.search.as_collection import as_collection
    from diml.search.manifest import is_index

    collection = as_collection(folder, labels_from)
    if is_index(into):
        Index.open(into)  # errors of the index are raised before a model is loaded
        _check_weights(into, weights)
    chosen = model or (str(into) if is_index(into) else "lite0")
    loaded = load_model(chosen, weights=weights, bit_depth=bit_depth, device=device, backend=backend)
    with progress_bar("embedding") as progress:
        made, report = index_folder(
            collection,
            into,
            model=loaded,
            grid=shape,
            dim=dim,
            prune=prune,
            strict=strict,
            batch_size=batch_size,
            progress=progress,
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


def _check_weights(into: Path, weights: str | None) -> None:
    from diml.search.manifest import Manifest

    stored = Manifest.read(into).weights
    if weights not in (None, stored):
        raise StoreError(
            f"expected weights {stored}, those of {into}, got {weights}; leave the weights out, or make another index"
        )
