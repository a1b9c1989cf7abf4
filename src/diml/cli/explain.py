"""diml explain: how similar images are, and which parts made them so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from diml.cli.options import (
    Device,
    Grid,
    Json,
    Marginals,
    Mask,
    Mass,
    ModelName,
    Region,
    check_part,
    check_part_of,
    existing,
    load_model,
    parse_region,
)
from diml.errors import UsageError


def explain(
    a: Annotated[Path, typer.Argument(help="The first image, or the query.", show_default=False)],
    b: Annotated[Path | None, typer.Argument(help="The second image.", show_default=False)] = None,
    rather_than: Annotated[
        Path | None, typer.Option(help="A third image: why is the first one like the second rather than like this?")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A folder in place of the second image: which parts do its images share?")
    ] = None,
    region: Region = None,
    mask: Mask = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="Another method of two images: structural, contributions, bilinear, grad-cam, sbsm, nearest, emd, ..."
        ),
    ] = None,
    model: ModelName = "lite0",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Write a picture: .png, .svg or .pdf by its ending; of two images also .html."
        ),
    ] = None,
    json: Json = False,
    grid: Grid = None,
    marginals: Marginals = None,
    mass: Mass = None,
    rollout: Annotated[
        int | None,
        typer.Option(help="For vision transformers: weigh parts by the attention of the last so many blocks."),
    ] = None,
    weight: Annotated[
        float | None, typer.Option(help="Share of the matched parts in the similarity, 0..1; as the model has it.")
    ] = None,
    parts: Annotated[int, typer.Option(help="How many parts or pairs of parts to show, the strongest first.")] = 6,
    device: Device = "auto",
) -> None:
    """Say how similar two images are, and which parts made them so.

    Example: diml explain cat.jpg other-cat.jpg --out why.html

    Why this one rather than that one: diml explain query.jpg cat.jpg --rather-than dog.jpg

    What a class shares: diml explain cat.jpg --against cats/

    Only a part of the first image: diml explain cat.jpg other-cat.jpg --region 80,20,190,120

    By another method: diml explain cat.jpg other-cat.jpg --method bilinear
    """
    if parts < 1:
        raise UsageError(f"--parts {parts} came; expected at least 1")
    existing(a, "image")
    if method is not None:
        others = {"--rather-than": rather_than, "--against": against, "--region": region, "--mask": mask}
        check_method(method, {**others, "--rollout": rollout}, out)
    check_question(b, rather_than, against)
    check_rollout(rollout, marginals, against)
    check_part(region, mask)
    if region or mask:
        settings = {"--marginals": marginals, "--mass": mass, "--weight": weight, "--rollout": rollout}
        check_one_sided(region, settings)
    regions = [parse_region(each) for each in region or ()]
    check_ending(out, pair=rather_than is None and against is None)
    named = [each for each in (a, b, rather_than, mask) if each is not None]
    check_sources(out, named)
    check_part_of(a, regions, mask)

    from diml.cli.explaining import Answer, Comparison

    collection = None if against is None else others_in(against, a)
    check_sources(out, collection or [])
    loaded = load_model(model, grid=grid, marginals=marginals, mass=mass, device=device)
    if weight is not None:
        loaded = loaded.with_matcher(weight=weight)
    if rollout is None:
        compared = Comparison.of(loaded, a, regions, mask)
    else:
        compared = Comparison.rolled_out(loaded, [each for each in (a, b, rather_than) if each is not None], rollout)
    answer = Answer(compared, parts, out, json)
    if against is not None and collection is not None:
        answer.where_they_agree(against, collection)
    elif b is not None and rather_than is not None:
        answer.why_rather(b, rather_than)
    elif b is not None and method is not None:
        answer.why_by(method, b)
    elif b is not None:
        answer.why(b)


def check_question(b: Path | None, rather_than: Path | None, against: Path | None) -> None:
    """Refuse, before anything slow, what is no question."""
    if against is not None:
        if b is not None or rather_than is not None:
            extra = "--rather-than" if b is None else f"the image {b}"
            raise UsageError(f"--against came together with {extra}; give a folder or other images, not both")
        existing(against, "folder")
    elif b is None:
        raise UsageError("the argument B is missing; give a second image, or a folder with --against")
    for image in (b, rather_than):
        if image is not None:
            existing(image, "image")


def check_rollout(rollout: int | None, marginals: object, against: Path | None) -> None:
    """Attention gives the marginals, of images that are named."""
    if rollout is not None and marginals is not None:
        raise UsageError("--marginals came with --rollout, which weighs the parts itself; leave one of them out")
    if rollout is not None and rollout < 1:
        raise UsageError(f"--rollout {rollout} came; expected at least 1 block")
    if rollout is not None and against is not None:
        raise UsageError("--rollout came with --against; it works on images that are named, so leave it out")


def check_one_sided(region: list[str] | None, others: Mapping[str, object]) -> None:
    """A chosen part is matched one-sided, to which other settings of the matching mean nothing."""
    asked = "--region" if region else "--mask"
    for name, value in others.items():
        if value is not None:
            raise UsageError(
                f"{name} came with {asked}, which matches the chosen part alone and weighs nothing else; leave it out"
            )


def check_method(name: str, others: Mapping[str, object], out: Path | None) -> None:
    """A method explains two whole images, and is drawn where it gives a heat."""
    for option, value in others.items():
        if value is not None:
            raise UsageError(f"{option} came with --method, which explains two whole images; leave one of them out")
    from diml.cli.explaining import is_page
    from diml.explanation import check_drawable
    from diml.explanation.methods import methods

    (method,) = methods([name])
    if out is not None and is_page(out):
        raise UsageError(f"{out} came with --method, which has no page; expected .png, .svg or .pdf")
    if out is not None:
        check_drawable(method.name, method.heats)


def check_ending(out: Path | None, pair: bool) -> None:
    from diml.cli.explaining import is_page
    from diml.explanation.files import PICTURES, check_output

    if out is None:
        return
    if not pair and is_page(out):
        raise UsageError(f"{out} came; a page is made of two images only, expected .png, .svg or .pdf")
    check_output(out, (*PICTURES, "html", "htm"))


def check_sources(out: Path | None, images: Sequence[Path]) -> None:
    """Refuse to write over an image that is asked about."""
    from diml.explanation.files import check_no_source

    if out is not None:
        check_no_source(out, images)


def others_in(folder: Path, image: Path) -> list[Path]:
    """The images of a folder but for the image itself, where it lies in it.

    Raises:
        UsageError: there is no other.
    """
    from diml.cli.options import report_skipped
    from diml.data import open_folder

    collection = open_folder(folder)
    report_skipped(collection.skipped)
    files = [collection.file(i) for i in range(len(collection))]
    others = [file for file in files if not file.samefile(image)]
    if not others:
        raise UsageError(f"{folder} holds no image but the one that is asked about; expected at least one other")
    return others
