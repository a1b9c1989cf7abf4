"""diml bench: the speed of matching on this machine, and the time of each stage of a query."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from diml.cli.options import Device, Json, load_model, parse_grid
from diml.cli.output import print_json
from diml.errors import UsageError
from diml.markdown import table

if TYPE_CHECKING:
    from diml.matching.speed import Speed, TileSpeed
    from diml.model import StructuralModel

# Largest count of numbers in the synthetic maps: a gigabyte in float32.
MOST = 2**28


def bench(
    grid: Annotated[str, typer.Option(help="Matching grid: 4, or 4x6 for 4 rows and 6 columns.")] = "4",
    dim: Annotated[int, typer.Option(help="Numbers per part.")] = 128,
    candidates: Annotated[int, typer.Option(help="Number of images that are matched with each query.")] = 100,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default as many as PyTorch uses.")] = None,
    query: Annotated[bool, typer.Option(help="Also measure the stages of a query, with the model lite0.")] = True,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the matching kernels and the stages of a query on this machine, with synthetic images.

    Example: diml bench --grid 7 --candidates 500
    """
    shape = parse_grid(grid)
    for name, value in (("--dim", dim), ("--candidates", candidates), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"expected {name} >= 1, got {value}")
    processors = os.cpu_count() or 1
    if threads is not None and threads > processors:
        raise UsageError(f"expected --threads <= {processors}, the number of processors of this machine, got {threads}")
    if candidates * shape[0] * shape[1] * dim > MOST:
        raise UsageError(
            f"expected at most {MOST} numbers in all candidates, got --candidates {candidates} of a grid of "
            f"{shape[0]}x{shape[1]} with --dim {dim}; lower one of them"
        )
    import torch

    from diml.matching.speed import measure_backends, measure_tiles
    from diml.model.devices import parse_device

    if threads is not None:
        torch.set_num_threads(threads)
    place = torch.device(parse_device(device))
    model = load_model("lite0", grid=grid, device=str(place)) if query else None
    if model is not None:
        check_grid(model)
    speeds = list(measure_backends(shape, dim, candidates, place))
    tiles = list(measure_tiles(shape, dim, place)) if place.type == "cuda" and _has_tiles(speeds) else []
    stages: dict[str, float] = {}
    if model is not None:
        from diml.search.stage_times import measure_stages

        stages = measure_stages(model, candidates, 0)
    if json:
        backends, cuts = [vars(speed) for speed in speeds], [vars(tile) for tile in tiles]
        print_json({"threads": torch.get_num_threads(), "backends": backends, "tiles": cuts, "stages": stages})
        return
    typer.echo(
        f"{shape[0]}x{shape[1]} parts of {dim} numbers, {candidates} candidates a query, "
        f"{torch.get_num_threads()} threads, {place}\n"
    )
    typer.echo(_backends(speeds))
    if tiles:
        typer.echo("\nAll pairs of two sets, float16, by tile shape of the CUDA kernel; the first is the default:\n")
        typer.echo(_tiles(tiles))
    if stages:
        typer.echo("\n" + _stages(stages))


def check_grid(model: StructuralModel) -> None:
    """Check, before anything is measured, that the model has maps of this grid."""
    from diml.search.creation import probe

    try:
        probe(model)
    except UsageError as error:
        raise UsageError(f"{error}; or leave out the stages of a query with --no-query") from None


def _backends(speeds: list[Speed]) -> str:
    measured = [speed for speed in speeds if not speed.missing]
    rows = [
        (s.backend, s.marginals, s.transport, f"{s.pairs_per_second:,.0f}", f"{s.ratio:.1f}", f"{s.error:.1e}")
        for s in measured
    ]
    missing = sorted({f"{speed.backend}: {speed.missing}" for speed in speeds if speed.missing})
    paragraphs = [table(("kernel", "marginals", "transport", "pairs/s", "x torch", "error"), rows, left=3)]
    return "\n\n".join(paragraphs + ["\n".join(missing)] * bool(missing))


def _has_tiles(speeds: list[Speed]) -> bool:
    return any(speed.backend == "cuda" and not speed.missing for speed in speeds)


def _tiles(tiles: list[TileSpeed]) -> str:
    rows = [(tile.tile, tile.marginals, f"{tile.pairs_per_second:,.0f}") for tile in tiles]
    return table(("tile", "marginals", "pairs/s"), rows, left=2)


def _stages(stages: dict[str, float]) -> str:
    whole = sum(stages.values())
    rows = [(name, f"{1000 * seconds:.2f}", f"{100 * seconds / whole:.0f}%") for name, seconds in stages.items()]
    return table(("stage", "ms", "share"), rows)
