"""Options that several commands share, and how their values are parsed and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from diml.cli.path_options import PATH, PLACE
from diml.errors import UsageError

if TYPE_CHECKING:
    from diml.model import StructuralModel
    from diml.search import Index
    from diml.search.object_path import ObjectPath

P = TypeVar("P", bound="Path | ObjectPath")

ModelName = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="lite0 | lite1 | lite2 | timm:NAME?weights=FILE | timm:NAME?weights=hub, both with &block=N, "
        "&norm=1, &size=PIXELS | a model folder | an index.",
    ),
]
Grid = Annotated[
    str | None, typer.Option(help="Matching grid: 4, or 4x6 for 4 rows and 6 columns; up to the backbone's own.")
]
Marginals = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME", help="How parts are weighted: uniform or cross_correlation; by default the model's."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="SCHEME",
        help="How parts count: uniform, norm, norm2, rarity, learned, or norm2*rarity; the model's by default.",
    ),
]
Mass = Annotated[
    float | None,
    typer.Option(
        help="Share of the mass to match, above 0 to 1; below 1, parts may remain unmatched; the model's by default."
    ),
]
Transport = Annotated[
    str | None,
    typer.Option(
        help="full matches all parts of both images, one-sided all of the first with what they need of the second, "
        "dustbin:0.3 leaves what is less alike than that; the model's by default."
    ),
]
Weight = Annotated[
    float | None, typer.Option(help="Share of the matched parts in the similarity, 0..1; by default the model's.")
]
Eps = Annotated[
    float | None,
    typer.Option(
        help="Entropy of the matching, above 0: the larger, the softer; rankings are inexact below 0.01; by default "
        "that of the model."
    ),
]
BitDepth = Annotated[
    int | None,
    typer.Option(
        help="Bits of the samples in 16-bit images, such as 12, where the files do not say it.",
        show_default=False,
    ),
]
Region = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        help="Use only this part of the image: x0,y0,x1,y1 in pixels, or x0,y0,x1,y1:weight; may be repeated.",
    ),
]
Mask = Annotated[
    Path | None,
    typer.Option(help="Use only the part where this image of the same size is brighter than black.", **PATH),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto uses a GPU if there is one.")]
Backend = Annotated[
    str,
    typer.Option(
        help="What embeds images: torch, openvino or onnx; auto takes the fastest installed once there are many; "
        "torch-bf16 and openvino-bf16 are faster and less exact. A GPU has torch and torch-bf16."
    ),
]
_INDEXES = typer.Argument(
    metavar="INDEX",
    help="An index made by diml index, or several with one model, which are read as one; a path, or s3://bucket/name.",
    show_default=False,
    **PLACE,
)
Indexes = Annotated[list[str], _INDEXES]
# Before another argument, where nothing would be said about the other one if it is missing.
OptionalIndexes = Annotated[list[str] | None, _INDEXES]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def load_model(
    name: str,
    *,
    grid: str | None = None,
    marginals: str | None = None,
    mass: float | None = None,
    transport: str | None = None,
    weight: float | None = None,
    eps: float | None = None,
    weights: str | None = None,
    bit_depth: int | None = None,
    device: str = "auto",
    backend: str = "auto",
) -> StructuralModel:
    """Load a model onto a device, with the settings that the options change.

    Raises:
        UsageError: an option out of its range; the options are checked before the model is loaded.
        ModelError: there is no such model.
        StoreError: the index cannot be opened.
    """
    shape = None if grid is None else parse_grid(grid)
    changes = matching_settings(marginals=marginals, mass=mass, transport=transport, weight=weight, eps=eps)
    from diml.model.devices import parse_device

    on = parse_device(device)
    if bit_depth is not None and not 1 <= bit_depth <= 16:
        raise UsageError(f"expected --bit-depth from 1 to 16, got {bit_depth}")
    check_weights(weights)
    from diml.embedding import parse_backend

    parse_backend(backend)
    from diml.model import StructuralModel
    from diml.search import Index
    from diml.search.manifest import is_index
    from diml.search.places import index_place

    place = index_place(name)
    if place.suffix.lower() == ".diml":
        existing(place, "index")
    # Opening an index also checks that it holds the model its images were embedded with.
    model = Index.open(name).model if is_index(place) else StructuralModel.from_pretrained(name)
    if shape is not None:
        model = model.with_grid(shape)
    if bit_depth is not None:
        model = model.with_decoding(bit_depth=bit_depth)
    if weights is not None:
        model = model.with_weights(weights)
    if backend != "auto":
        model = model.with_backend(backend)
    return model.with_matcher(**changes).to(on)


def opened_index(paths: Sequence[str]) -> Index:
    """An index, or several as one.

    Raises:
        UsageError: one of them does not exist.
        StoreError: one of them cannot be opened, or they differ.
    """
    check_indexes(paths)
    from diml.search import Index

    return Index.open(paths)


def check_indexes(paths: Sequence[str]) -> None:
    """Refuse an index that does not exist on this machine, before anything is loaded."""
    from diml.data.object_files import is_url

    for path in paths:
        if not is_url(path):
            existing(Path(path), "index")


def name_of(paths: Sequence[str]) -> str:
    """What documents call an index, or several.

    >>> name_of(["a.diml", "s3://bucket/b.diml"])
    'a.diml, s3://bucket/b.diml'
    """
    return ", ".join(paths)


def check_weights(name: str | None) -> None:
    """Refuse, before a model is loaded, weights of parts that do not exist."""
    if name is not None:
        from diml.embedding import parse_weights

        parse_weights(name, lambda: 1)


def matching_settings(
    *,
    marginals: str | None = None,
    mass: float | None = None,
    transport: str | None = None,
    weight: float | None = None,
    eps: float | None = None,
) -> dict[str, Any]:
    """The settings of the matcher that the options change, for `with_matcher` of a model or an index.

    Raises:
        UsageError: one of them is out of its range.

    >>> matching_settings(weight=1.0, transport="dustbin:0.25")
    {'weight': 1.0, 'transport': 'dustbin', 'bin_similarity': 0.25}
    """
    values = {"marginals": marginals, "mass": mass, "weight": weight, "eps": eps}
    changes: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if transport is not None:
        changes["transport"], _, price = transport.partition(":")
        if price:
            changes["bin_similarity"] = _price(transport, price)
    if changes:
        from diml.matching import Matcher

        Matcher(**changes)  # checks the ranges
    return changes


def _price(transport: str, price: str) -> float:
    try:
        if transport.startswith("dustbin:"):
            return float(price)
    except ValueError:
        pass
    raise UsageError(f"expected --transport full, one-sided, dustbin or dustbin:0.3, got {transport!r}")


def parse_grid(text: str, option: str = "--grid") -> tuple[int, int]:
    """Rows and columns.

    >>> parse_grid("4"), parse_grid("4x6")
    ((4, 4), (4, 6))
    """
    sides = text.lower().split("x")
    if not 1 <= len(sides) <= 2 or not all(side.isascii() and side.isdigit() and int(side) for side in sides):
        raise UsageError(f"expected {option} to be a number such as 4, or rows x columns such as 4x6, got {text}")
    return int(sides[0]), int(sides[-1])


def check_part(region: Sequence[str] | None, mask: Path | None) -> None:
    """Refuse a part that is given in two ways, or by a mask that does not exist, before anything slow starts."""
    if region and mask is not None:
        raise UsageError("--region and --mask cannot be combined; use one of them")
    if mask is not None:
        existing(mask, "mask image")


def check_part_alone(region: Sequence[str] | None, others: Mapping[str, object]) -> None:
    """A chosen part is matched one-sided, where other settings of the matching have no meaning."""
    asked = "--region" if region else "--mask"
    for name, value in others.items():
        if value is not None:
            raise UsageError(
                f"{name} cannot be combined with {asked}, which matches the chosen part alone; leave it out"
            )


def check_part_of(
    image: Path, regions: Sequence[tuple[tuple[float, float, float, float], float]], mask: Path | None
) -> None:
    """Refuse a part outside of the image, before a model is loaded."""
    from diml.data import image_size, open_mask
    from diml.matching import check_regions, mask_values

    size = image_size(image)
    check_regions(regions, size)
    if mask is not None:
        mask_values(open_mask(mask), size)


def existing(path: P, what: str) -> P:
    """The path, if it exists.

    Raises:
        UsageError: it does not exist.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such {what}; check the path")
    return path
