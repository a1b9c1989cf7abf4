"""diml explain: how similar images are, and which parts made them so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from diml.cli.options import (
    BitDepth,
    Device,
    Eps,
    Grid,
    Json,
    Marginals,
    Mask,
    Mass,
    ModelName,
    Region,
    Transport,
    Weight,
    Weights,
    check_part,
    check_part_alone,
    check_part_of,
    existing,
    load_model,
)
from diml.cli.output import print_json, progress_bar, report_skipped
from diml.cli.path_options import PATH
from diml.errors import UsageError
from diml.query_text import parse_region

if TYPE_CHECKING:
    from diml.data import Located
    from diml.explanation import Agreement, MethodExplanation, NamedImage
    from diml.model import StructuralModel


class Explanation(Protocol):
    """What explanations by parts can do."""

    def to_dict(self) -> dict[str, Any]: ...

    def describe(self, parts: int | None = None) -> str: ...

    def draw(self, path: Path, parts: int | None = None) -> None: ...


def explain(
    a: Annotated[Path, typer.Argument(help="The first image, or the query.", show_default=False, **PATH)],
    b: Annotated[Path | None, typer.Argument(help="The second image.", show_default=False, **PATH)] = None,
    rather_than: Annotated[
        Path | None,
        typer.Option(help="A third image: why is the first one like the second rather than like this?", **PATH),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="A folder in place of the second image: which parts do its images share?", **PATH),
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
            "--out", "-o", help="Write a picture: .png, .svg or .pdf by its ending; of two images also .html.", **PATH
        ),
    ] = None,
    json: Json = False,
    grid: Grid = None,
    weights: Weights = None,
    marginals: Marginals = None,
    weight: Weight = None,
    eps: Eps = None,
    mass: Mass = None,
    transport: Transport = None,
    rollout: Annotated[
        int | None,
        typer.Option(help="For vision transformers: weigh parts by the attention of the last so many blocks."),
    ] = None,
    parts: Annotated[
        int | None,
        typer.Option(help="Show so many parts, or pairs of parts, the strongest first, in place of regions."),
    ] = None,
    bit_depth: BitDepth = None,
    device: Device = "auto",
) -> None:
    """Say how similar two images are, and which parts made them so.

    Example: diml explain cat.jpg other-cat.jpg --out why.html

    Why this one rather than that one: diml explain query.jpg cat.jpg --rather-than dog.jpg

    What a class shares: diml explain cat.jpg --against cats/

    Only a part of the first image: diml explain cat.jpg other-cat.jpg --region 80,20,190,120

    By another method: diml explain cat.jpg other-cat.jpg --method bilinear
    """
    if parts is not None and parts < 1:
        raise UsageError(f"expected --parts >= 1, got {parts}")
    existing(a, "image")
    if method is not None:
        others = {"--rather-than": rather_than, "--against": against, "--region": region, "--mask": mask}
        check_method(method, {**others, "--rollout": rollout}, out)
    check_question(b, rather_than, against)
    check_rollout(rollout, marginals, against)
    check_part(region, mask)
    if region or mask:
        check_part_alone(
            region,
            {
                "--marginals": marginals,
                "--mass": mass,
                "--transport": transport,
                "--weight": weight,
                "--rollout": rollout,
            },
        )
    regions = [parse_region(each) for each in region or ()]
    check_out(out, [each for each in (a, b, rather_than, mask) if each is not None], page=not (rather_than or against))

    from diml.explanation import NamedImage, explain_by_method, explain_contrast, explain_pair

    image, second = NamedImage.of(a, ""), NamedImage.of(b, "")
    if regions or mask is not None:
        check_part_of(a, regions, mask)
    beside = None if against is None else others_in(against, a, out)
    loaded = load_model(
        model,
        grid=grid,
        weights=weights,
        marginals=marginals,
        weight=weight,
        eps=eps,
        mass=mass,
        transport=transport,
        bit_depth=bit_depth,
        device=device,
    )
    check_fitted(loaded, weights)
    part: dict[str, Any] = {"regions": regions, "mask": mask}
    explanation: Explanation | MethodExplanation
    if against is not None and beside is not None:
        explanation = agreement_with(loaded, image, beside, against, part)
    elif rather_than is not None:
        explanation = explain_contrast(loaded, image, second, rather_than, **part, rollout=rollout)
    elif method is not None:
        explanation = explain_by_method(method, loaded, image, second)
    else:
        explanation = explain_pair(loaded, image, second, **part, rollout=rollout)
    show(explanation, parts, out, json)


def show(explanation: Explanation | MethodExplanation, parts: int | None, out: Path | None, json: bool) -> None:
    """Write the explanation to `out`, and print it, as JSON or in words."""
    from diml.data import printable
    from diml.explanation import MethodExplanation, is_page

    if out is not None:
        if isinstance(explanation, MethodExplanation):
            explanation.draw(out)  # its heat covers all parts
        else:
            explanation.draw(out, parts)
    if json:
        print_json(explanation.to_dict())
        return
    typer.echo(explanation.describe(parts))
    if out is not None:
        typer.echo(f"\nThe {'page' if is_page(out) else 'picture'} is in {printable(out)}")


def agreement_with(
    model: StructuralModel, image: NamedImage, others: Sequence[Path | Located], folder: Path, part: Mapping[str, Any]
) -> Agreement:
    """Which parts the images of a folder share; images that cannot be read are reported."""
    from diml.explanation import explain_agreement

    with progress_bar("comparing") as progress:
        agreement = explain_agreement(model, image, others, **part, against=str(folder), progress=progress)
    report_skipped(agreement.skipped)
    return agreement


def check_fitted(model: StructuralModel, weights: str | None) -> None:
    """Two images are no collection, to which weights that were asked for could be fitted."""
    if weights is not None and not model.weights_ready:
        raise UsageError(
            f"the weights {model.weights} are not fitted to a collection; make an index with them, "
            f"diml index FOLDER --into NAME.diml --weights '{model.weights}', and use --model NAME.diml"
        )


def check_question(b: Path | None, rather_than: Path | None, against: Path | None) -> None:
    """Refuse, before anything slow, images that do not make a question."""
    if against is not None:
        if b is not None or rather_than is not None:
            extra = "--rather-than" if b is None else f"the image {b}"
            raise UsageError(f"--against cannot be combined with {extra}; use one of them")
        existing(against, "folder")
    elif b is None:
        raise UsageError("the argument B is missing; give a second image, or a folder with --against")
    for image in (b, rather_than):
        if image is not None:
            existing(image, "image")


def check_rollout(rollout: int | None, marginals: object, against: Path | None) -> None:
    """A rollout gives the marginals, and needs the images one by one."""
    if rollout is not None and marginals is not None:
        raise UsageError("--marginals cannot be combined with --rollout, which weighs the parts; use one of them")
    if rollout is not None and rollout < 1:
        raise UsageError(f"expected --rollout >= 1, got {rollout}")
    if rollout is not None and against is not None:
        raise UsageError("--rollout cannot be combined with --against; name a second image instead of a folder")


def check_method(name: str, others: Mapping[str, object], out: Path | None) -> None:
    """A method explains two whole images, and is drawn only if it gives a heat."""
    for option, value in others.items():
        if value is not None:
            raise UsageError(
                f"{option} cannot be combined with --method, which explains two whole images; leave it out"
            )
    from diml.explanation import check_drawable, is_page
    from diml.explanation.methods import methods

    (method,) = methods([name])
    if out is not None and is_page(out):
        raise UsageError(f"cannot write {out}: --method has no page; use .png, .svg or .pdf")
    if out is not None:
        check_drawable(method)


def check_out(out: Path | None, images: Sequence[Path], page: bool = True) -> None:
    """Refuse, before anything slow, a file that cannot be written or is one of the images."""
    from diml.explanation import PAGES, PICTURES, check_no_source, check_output, is_page

    if out is None:
        return
    if is_page(out) and not page:
        raise UsageError(f"cannot write {out}: there are pages of two images only; use .png, .svg or .pdf")
    check_output(out, (*PICTURES, *PAGES))
    check_no_source(out, images)


def others_in(folder: Path, image: Path, out: Path | None) -> list[Path | Located]:
    """The images of a folder except for the image itself; files that were skipped are reported."""
    from diml.explanation import check_no_source, images_beside

    others, skipped = images_beside(folder, image)
    report_skipped(skipped)
    if out is not None:
        check_no_source(out, others)
    return others
