"""Feature maps that were computed elsewhere, checked and described as a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from diml.data.collection import Collection
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.files import AnyPath
from diml.search.as_collection import as_labels, as_texts


def with_sizes(maps: FeatureMaps, sizes: Sequence[tuple[int, int]] | None) -> FeatureMaps:
    """The maps with a geometry: their own, or that of whole images of these sizes.

    Raises:
        UsageError: neither, or both, or sizes that are not positive.

    >>> with_sizes(FeatureMaps(torch.ones(1, 4, 3), (2, 2)), [(80, 60)]).boxes(0)[0].tolist()
    [0.0, 0.0, 40.0, 30.0]
    """
    if sizes is None:
        if maps.geometry is None:
            raise UsageError("expected feature maps with a geometry, got none; give sizes=[(width, height), ...]")
        return maps
    if maps.geometry is not None:
        raise UsageError("sizes cannot be combined with feature maps that have a geometry; leave sizes out")
    size = torch.as_tensor(sizes)
    if size.shape != (len(maps), 2) or size.is_floating_point() or not (size > 0).all():
        raise UsageError(
            f"expected sizes as {len(maps)} pairs (width, height) of whole numbers above 0, got shape "
            f"{tuple(size.shape)}"
        )
    corner = torch.zeros(len(maps), 2, dtype=torch.float64)
    geometry = Geometry(size.to(torch.int64), torch.cat([corner, size.double()], dim=1))
    return maps.replace(geometry=geometry)


def given_collection(
    maps: FeatureMaps,
    paths: Sequence[AnyPath],
    labels: Sequence[Any] | None,
    columns: Mapping[str, Sequence[Any]] | None,
) -> Collection:
    """What is stated about the images of feature maps, in their order.

    Raises:
        UsageError: not one path, label and value for each image; a path that is listed twice; maps that are not finite.
    """
    if not len(maps):
        raise UsageError("expected feature maps of at least one image, got none")
    if not (maps.local.isfinite().all() and maps.pooled.isfinite().all()):
        raise UsageError("expected finite feature maps, got NaN or infinite values")
    if isinstance(paths, str | bytes) or len(paths) != len(maps):
        given = 1 if isinstance(paths, str | bytes) else len(paths)
        raise UsageError(f"expected {len(maps)} paths, one for each image, got {given}")
    names = [Path(path).as_posix() for path in paths]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"{name} is listed twice; give each image a path of its own")
        seen.add(name)
    texts = {name: as_texts(each, len(maps), f"values of column {name!r}") for name, each in (columns or {}).items()}
    return Collection(Path(), names, None if labels is None else as_labels(labels, len(maps)), None, texts)
