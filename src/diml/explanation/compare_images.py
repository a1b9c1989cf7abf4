"""`diml.compare`: two images and the name of a model, in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from diml.explanation.explain import explain_pair

if TYPE_CHECKING:
    from diml.explanation.images import NamedImage
    from diml.explanation.pair import PairExplanation
    from diml.feature_maps import FeatureMaps
    from diml.matching import RegionLike
    from diml.model import Mask, Source, StructuralModel


def compare(
    a: Source | FeatureMaps | NamedImage,
    b: Source | FeatureMaps | NamedImage,
    model: str | os.PathLike[str] | StructuralModel = "lite0",
    *,
    regions: Sequence[RegionLike] = (),
    mask: Mask | None = None,
    weight: float | None = None,
    eps: float | None = None,
    mass: float | None = None,
    transport: str | None = None,
    weights: str | None = None,
    marginals: Any = None,
    grid: int | tuple[int, int] | None = None,
    bit_depth: int | None = None,
    device: str | None = None,
) -> PairExplanation:
    """How similar two images are, and which pairs of parts made them so.

    Args:
        a, b: paths, PIL images, arrays (H, W, 3) of uint8, tensors, or feature maps of one image.
        model: a model, or the name of one as `StructuralModel.from_pretrained` takes it. The model that was loaded last
            by name is kept in memory, so a loop loads it once; a file that changes in between is not read again.
        regions: compare only these parts of `a`, each `(x0, y0, x1, y1)` in its pixels, with whatever resembles them in
            `b`; see `explain_pair`.
        mask: the same by an image of the size of `a`.
        weight: share of the matched parts in the similarity, 0..1.
        eps: entropy of the matching, > 0: the larger, the softer.
        mass: share of the parts' mass that is matched, above 0 to 1.
        transport: "full", "one-sided" or "dustbin", see `diml.Matcher`.
        weights: how much each part of an image counts, such as `"norm"`; see `StructuralModel.with_weights`.
        marginals: how parts are weighed, such as `"uniform"` or `"cross_correlation"`.
        grid: matching grid: rows and columns, or one number for both.
        bit_depth: bits of the samples in 16-bit images, such as 12, where the files do not say it.
        device: such as `"cuda"`; by default the model stays where it is.

    The settings of the matching that are left out are those of the model.

    Returns:
        An explanation with `.similarity` (a float), `.parts(n)`, `.to_dict()`, `.describe()` and `.draw(path)`.

    Raises:
        ModelError: no such model.
        ImageError: an image cannot be read.
        UsageError: a setting out of its range, or regions and a mask that do not fit.

    >>> from PIL import Image
    >>> explanation = compare(Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue"))
    >>> explanation.similarity < 1, len(explanation.parts(3))
    (True, 3)
    """
    from diml.model import StructuralModel

    loaded = model if isinstance(model, StructuralModel) else _named(os.fspath(model))
    settings = {"weight": weight, "eps": eps, "mass": mass, "transport": transport, "marginals": marginals}
    changes = {name: value for name, value in settings.items() if value is not None}
    if changes:
        loaded = loaded.with_matcher(**changes)
    if weights is not None:
        loaded = loaded.with_weights(weights)
    if grid is not None:
        loaded = loaded.with_grid(grid)
    if bit_depth is not None:
        loaded = loaded.with_decoding(bit_depth=bit_depth)
    if device is not None:
        loaded = loaded.to(device)
    return explain_pair(loaded, a, b, regions=regions, mask=mask)


@lru_cache(maxsize=1)
def _named(name: str) -> StructuralModel:
    from diml.model import StructuralModel

    return StructuralModel.from_pretrained(name)
