"""The engine of `diml index`, from its options."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from diml.errors import UsageError

if TYPE_CHECKING:
    from diml.search.engine import Engine

ENGINES = ("local", "ray")
EngineName = Annotated[str, typer.Option("--engine", help="What embeds: local, this process; ray, a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(help="HOST:PORT of a Ray cluster, or auto; by default one of this machine is started and stopped."),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes that embed on the Ray cluster; by default one for each GPU, or CPU without GPUs."),
]


def check_engine(name: str, address: str | None, workers: int | None) -> None:
    """Refuse an unknown engine, and options of Ray for another.

    Raises:
        UsageError: either.
    """
    if name not in ENGINES:
        raise UsageError(f"expected --engine {' or '.join(ENGINES)}, got {name}")
    if name != "ray" and (address is not None or workers is not None):
        raise UsageError("--address and --workers are for --engine ray; add that, or leave them out")


@contextmanager
def running_engine(name: str, address: str | None, workers: int | None) -> Iterator[Engine | None]:
    """The engine of this name, running; None for this process."""
    check_engine(name, address, workers)
    if name == "local":
        yield None
        return
    from diml.search.ray_engine import RayEngine

    # The part of Ray that is not Python has a log of its own in this process, on standard error, and greets there.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    with ExitStack() as stack:
        # Ray prints there when a worker ends, whatever its logs are set to; the engine says what came of it.
        stack.enter_context(redirect_stdout(stack.enter_context(open(os.devnull, "w", encoding="utf-8"))))
        engine = RayEngine(address, workers)
        with _no_standard_error():
            stack.enter_context(engine)
        yield engine


@contextmanager
def _no_standard_error() -> Iterator[None]:
    """Nothing reaches standard error meanwhile, from any part of this process."""
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
