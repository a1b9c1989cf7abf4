"""diml serve: explained search over HTTP, with a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diml.cli.path_options import PATH, PLACE
from diml.errors import UsageError

MISSING = "diml serve needs the extra serve; install it with: pip install 'diml[serve]'"


def serve(
    indexes: Annotated[
        list[str] | None, typer.Argument(help="Indices made by diml index.", show_default=False, **PLACE)
    ] = None,
    shards: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=INDEX,INDEX,...",
            help="Several indices with one model, served as one under this name; a path may have wildcards; may be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Where to listen; 127.0.0.1 by default, this machine alone.")] = None,
    port: Annotated[int | None, typer.Option(help="8000 by default; 0 takes a free one.")] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File of mode 0600 with the token that requests carry; needed for other hosts.", **PATH),
    ] = None,
    writable: Annotated[
        bool | None, typer.Option("--writable/--read-only", help="Whether images may be added and removed.")
    ] = None,
    originals: Annotated[
        bool | None, typer.Option("--originals/--no-originals", help="Whether the files of the collection are shown.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A further name under which the service is reached; may be repeated.")
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(help="A web site whose pages may use the service; may be repeated.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; auto by default.")] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="What embeds images: torch, openvino, onnx, torch-bf16, openvino-bf16; auto by default."),
    ] = None,
    queue: Annotated[int | None, typer.Option(help="Requests in work; more are refused with 429.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images embedded together.")] = None,
    batch_wait: Annotated[float | None, typer.Option(help="Milliseconds an image waits for others, 0 to 5.")] = None,
    decoders: Annotated[int | None, typer.Option(help="Processes that decode images.")] = None,
    decode_seconds: Annotated[float | None, typer.Option(help="Within which an image must be decoded.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Within which a request must be answered.")] = None,
    upload_bytes: Annotated[int | None, typer.Option(help="Largest body of a request.")] = None,
    pixels: Annotated[int | None, typer.Option(help="Largest image.")] = None,
    parts: Annotated[int | None, typer.Option(help="Most files, and most fields, of a form.")] = None,
    k: Annotated[int | None, typer.Option("--k", help="Most hits.")] = None,
    shortlist: Annotated[int | None, typer.Option(help="Largest shortlist.")] = None,
    shortlist_all: Annotated[
        bool | None, typer.Option("--shortlist-all/--no-shortlist-all", help="Whether a search may match all images.")
    ] = None,
    regions: Annotated[int | None, typer.Option(help="Most regions of a part query.")] = None,
    filter_length: Annotated[int | None, typer.Option(help="Longest condition.")] = None,
) -> None:
    """Serve indices over HTTP, with a page for people at its address; Ctrl-C stops it.

    Every option may also be given as a variable of the environment, such as DIML_SERVE_PORT.

    Example: diml serve photos.diml

    Several indices as one: diml serve --shards 'photos=part-*.diml'
    """
    try:
        from diml.service.server import serve as run
        from diml.service.settings import ServiceSettings
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "diml":
            raise
        raise UsageError(MISSING) from error
    settings = ServiceSettings.of(
        indexes=indexes or None,
        shards=shards or None,
        host=host,
        port=port,
        token_file=token_file,
        writable=writable,
        originals=originals,
        allow_hosts=allow_host or None,
        allow_origins=allow_origin or None,
        device=device,
        backend=backend,
        queue=queue,
        batch=batch,
        batch_wait=batch_wait,
        decoders=decoders,
        decode_seconds=decode_seconds,
        seconds=seconds,
        upload_bytes=upload_bytes,
        pixels=pixels,
        parts=parts,
        k=k,
        shortlist=shortlist,
        shortlist_all=shortlist_all,
        regions=regions,
        filter_length=filter_length,
    )
    run(settings, lambda url: typer.echo(f"{url} serves {', '.join(settings.named)}; Ctrl-C stops it"))
