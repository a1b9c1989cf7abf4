"""diml bench: how fast matching is on this machine, and where the time of a query goes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from diml.cli.options import Device, Json, load_model, parse_device, parse_grid
from diml.cli.output import print_json
from diml.errors import UsageError

if TYPE_CHECKING:
    from diml.matching.speed import Speed, TileSpeed
    from diml.model import StructuralModel

# Numbers of the maps that are made up: a gigabyte in float32.
MOST = 2**28


def bench(
    grid: Annotated[str, typer.Option(help="Matching grid: 4, or 4x6 for 4 rows and 6 columns.")] = "4",
    dim: Annotated[int, typer.Option(help="Numbers per part.")] = 128,
    candidates: Annotated[int, typer.Option(help="Images that are matched with each query.")] = 100,
    threads: Annotated[int | None, typer.Option(help="CPU threads; by default as many as PyTorch takes.")] = None,
    query: Annotated[bool, typer.Option(help="Also measure the stages of a query, with the model lite0.")] = True,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Measure the matching kernels and the stages of a query on this machine, with made-up images.

    Example: diml bench --grid 7 --candidates 500
    """
    shape = parse_grid(grid)
    for name, value in (("--dim", dim), ("--candidates", candidates), ("--threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value} came; expected at least 1")
    processors = os.cpu_count() or 1
    if threads is not None and threads > processors:
        raise UsageError(f"--threads {threads} came; expected at most {processors}, the processors of this machine")
    if candidates * shape[0] * shape[1] * dim > MOST:
        raise UsageError(
            f"--candidates {candidates} of a grid of {shape[0]}x{shape[1]} and --dim {dim} came; "
            f"expected at most {MOST} numbers in all"
        )
    import torch

    from diml.matching.speed import measure_backends, measure_tiles

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
    typer.echo("\n".join(_backends(speeds)))
    if tiles:
        typer.echo("\nAll pairs of two sets, float16, by tiles of the CUDA kernel; the first is in use:\n")
        typer.echo("\n".join(_tiles(tiles)))
    if stages:
        typer.echo("\n" + "\n".join(_stages(stages)))


def check_grid(model: StructuralModel) -> None:
    """Refuse, before anything is measured, a grid that the model has no map for."""
    from diml.search.creation import probe

    try:
        probe(model)
    except UsageError as error:
        raise UsageError(f"{error}; or leave the stages of a query out with --no-query") from None


def _backends(speeds: list[Speed]) -> list[str]:
    lines = ["| kernel | marginals         |    pairs/s | x torch | error   |"]
    lines += ["| :----- | :---------------- | ---------: | ------: | :------ |"]
    for speed in speeds:
        if speed.missing:
            lines.append(f"| {speed.backend:<6} | {speed.marginals:<17} | {speed.missing} |||")
        else:
            numbers = f"{speed.pairs_per_second:>10,.0f} | {speed.ratio:>7.1f} | {speed.error:.1e}"
            lines.append(f"| {speed.backend:<6} | {speed.marginals:<17} | {numbers} |")
    return lines


def _has_tiles(speeds: list[Speed]) -> bool:
    return any(speed.backend == "cuda" and not speed.missing for speed in speeds)


def _tiles(tiles: list[TileSpeed]) -> list[str]:
    lines = [
        "| tile               | marginals         |     pairs/s |",
        "| :----------------- | :---------------- | ----------: |",
    ]
    return lines + [f"| {tile.tile:<18} | {tile.marginals:<17} | {tile.pairs_per_second:>11,.0f} |" for tile in tiles]


def _stages(stages: dict[str, float]) -> list[str]:
    whole = sum(stages.values())
    lines = ["| stage   |      ms | share |", "| :------ | ------: | ----: |"]
    return lines + [f"| {name:<7} | {1000 * s:>7.2f} | {100 * s / whole:>4.0f}% |" for name, s in stages.items()]
