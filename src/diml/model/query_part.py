"""The part of an image that a query looks for, chosen by regions or by a mask."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from diml.data import open_mask
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Region, RegionLike, as_regions, check_regions, mask_values, mask_weights, region_weights

Mask = str | os.PathLike[str] | Image.Image | npt.NDArray[np.generic] | Tensor


@dataclass(frozen=True, eq=False)
class QueryPart:
    """The part of an image that a query looks for.

    Attributes:
        weights: (h, w) how much each cell of the query counts; they sum to 1.
        regions: in pixels of the query; empty where a mask chose the part.
        mask: the mask's file, or "values" for a mask given as an array, or as an
            image that is of no file; None where regions chose the part.
    """

    weights: Float[Tensor, "h w"]
    regions: tuple[Region, ...] = ()
    mask: str | None = None

    @property
    def chosen(self) -> list[int]:
        """Numbers of the cells that count, row by row from 0."""
        numbers: list[int] = self.weights.flatten().nonzero()[:, 0].tolist()
        return numbers

    def to_dict(self) -> dict[str, Any]:
        """The part as `--json` prints it."""
        return {
            "regions": [{"box": list(box), "weight": weight} for box, weight in self.regions],
            "mask": self.mask,
            "cells": self.weights.tolist(),
        }


@dataclass(frozen=True)
class PartChoice:
    """Regions or an opened mask, before the cells that they cover are known."""

    regions: tuple[Region, ...]
    mask: Any = None
    name: str | None = None

    @classmethod
    def of(cls, regions: Sequence[RegionLike], mask: Mask | None) -> PartChoice:
        """Open what the caller gave.

        Raises:
            ImageError: the mask cannot be read.
            UsageError: both were given, or a region is not four numbers.
        """
        if len(regions) and mask is not None:
            raise UsageError("regions and mask cannot be combined; use one of them")
        if mask is None:
            return cls(as_regions(regions))
        if isinstance(mask, str | os.PathLike):
            return cls((), open_mask(mask), os.fspath(mask))
        return cls((), mask, getattr(mask, "filename", "") or "values")

    def check(self, size: tuple[int, int]) -> None:
        """Check that the choice fits an image of this size, before the image is embedded."""
        check_regions(self.regions, size)
        if self.mask is not None:
            mask_values(self.mask, size)

    def part(self, maps: FeatureMaps) -> QueryPart | None:
        """The chosen part of an image's feature maps; None where nothing was chosen."""
        if self.mask is not None:
            return QueryPart(mask_weights(maps, self.mask).reshape(maps.grid), mask=self.name)
        if self.regions:
            return QueryPart(region_weights(maps, self.regions).reshape(maps.grid), self.regions)
        return None
