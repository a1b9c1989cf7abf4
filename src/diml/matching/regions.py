"""A part of an image, given in pixels, as weights of the cells that show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching.match import Box

# A box `x0, y0, x1, y1` in pixels of the original, and how much a pixel in it counts.
Region = tuple[Box, float]
# A region as callers write it: `(x0, y0, x1, y1)`, which has weight 1, or a Region.
RegionLike = Sequence[Any]


def as_regions(regions: Sequence[RegionLike]) -> tuple[Region, ...]:
    """Regions as callers write them, each with its weight.

    Raises:
        UsageError: not a list of boxes, or a box that is not four numbers.

    >>> as_regions([(0, 0, 64, 48), ((8, 0, 64, 48), 2)])
    (((0.0, 0.0, 64.0, 48.0), 1.0), ((8.0, 0.0, 64.0, 48.0), 2.0))
    """
    return tuple(_as_region(region) for region in regions)


def region_weights(maps: FeatureMaps, regions: Sequence[RegionLike]) -> Float[Tensor, "1 r"]:
    """How much of each cell the regions cover: `mu_i ~ sum_k weight_k area(cell_i and region_k)`.

    Partly covered cells count by area, in pixels of the original; where regions overlap, their weights add.

    Args:
        maps: of one image, with its geometry.
        regions: at least one `(x0, y0, x1, y1)` or `((x0, y0, x1, y1), weight)`, in pixels of the original after its
            EXIF orientation, x to the right, y down; a weight is finite and above 0, by default 1.

    Returns:
        (1, r) float64, >= 0, summing to 1.

    Raises:
        UsageError: a region that is empty or leaves the image, a weight that is not above 0, or regions of which the
            model saw nothing.

    >>> geometry = Geometry(torch.tensor([[100, 50]]), torch.tensor([[0.0, 0.0, 100.0, 50.0]]).double())
    >>> maps = FeatureMaps(torch.zeros(1, 4, 3), (2, 2), geometry=geometry)
    >>> region_weights(maps, [((25.0, 0.0, 100.0, 25.0), 1.0)])
    tensor([[0.3333, 0.6667, 0.0000, 0.0000]], dtype=torch.float64)
    """
    geometry = _of_one_image(maps)
    if not regions:
        raise UsageError("no region came; expected at least one box x0,y0,x1,y1")
    weighed = as_regions(regions)
    check_regions(weighed, _size(geometry))
    rows, columns = _edges(geometry, maps.grid)
    covered = torch.zeros(maps.grid, dtype=torch.float64)
    heaviest = max(weight for _, weight in weighed)
    for box, weight in weighed:
        x0, y0, x1, y1 = (torch.tensor([edge], dtype=torch.float64) for edge in box)
        covered += weight / heaviest * _overlaps(rows, y0, y1) @ _overlaps(columns, x0, x1).mT
    return _normalised(covered, "the regions lie where the model saw nothing of the image")


def mask_weights(maps: FeatureMaps, mask: Image.Image | npt.NDArray[np.generic] | Tensor) -> Float[Tensor, "1 r"]:
    """How much of each cell a mask selects: `mu_i ~` the sum of the mask's values over the pixels of the cell.

    Args:
        maps: of one image, with its geometry.
        mask: of the original's size after its EXIF orientation. An image counts by its grey value times its opacity, an
            array (H, W) by its values, which are finite and >= 0.

    Returns:
        (1, r) float64, >= 0, summing to 1.

    Raises:
        UsageError: a mask of another size, values that are negative or not finite, or one that selects nothing.

    >>> geometry = Geometry(torch.tensor([[4, 2]]), torch.tensor([[0.0, 0.0, 4.0, 2.0]]).double())
    >>> maps = FeatureMaps(torch.zeros(1, 2, 3), (1, 2), geometry=geometry)
    >>> mask_weights(maps, np.array([[0, 1, 1, 0], [0, 0, 1, 0]]))
    tensor([[0.3333, 0.6667]], dtype=torch.float64)
    """
    geometry = _of_one_image(maps)
    width, height = _size(geometry)
    values = mask_values(mask, (width, height))
    rows, columns = _edges(geometry, maps.grid)
    y, x = (torch.arange(side, dtype=torch.float64) for side in (height, width))
    selected = _overlaps(rows, y, y + 1) @ values @ _overlaps(columns, x, x + 1).mT
    return _normalised(selected, "the mask selects only what the model saw nothing of")


def check_regions(regions: Sequence[Region], size: tuple[int, int]) -> None:
    """Refuse regions that an image of that width and height does not have; for this no map of it is needed.

    Raises:
        UsageError: a region that is empty or leaves the image, or a weight that is not above 0.

    >>> check_regions([((0.0, 0.0, 64.0, 48.0), 1.0)], (64, 48))
    """
    for box, weight in regions:
        _check_region(box, weight, *size)


def mask_values(
    mask: Image.Image | npt.NDArray[np.generic] | Tensor, size: tuple[int, int]
) -> Float[Tensor, "height width"]:
    """How much each pixel counts, between 0 and 1, by a mask for an image of that width and height.

    Raises:
        UsageError: as `mask_weights`.

    >>> mask_values(np.array([[0, 2]]), (2, 1))
    tensor([[0., 1.]], dtype=torch.float64)
    """
    values, (width, height) = _raw_values(mask), size
    if tuple(values.shape) != (height, width):
        came = f"{values.shape[1]}x{values.shape[0]}" if values.ndim == 2 else f"of shape {tuple(values.shape)}"
        raise UsageError(f"a mask {came} came for an image of {width}x{height} pixels; give one of the image's size")
    if not values.isfinite().all() or (values < 0).any():
        raise UsageError("a mask with negative, NaN or infinite values came; expected numbers >= 0")
    if not values.any():
        raise UsageError("a mask that selects nothing came (all of it is 0); paint the part to look for")
    return values / values.max()


def _as_region(region: Any) -> Region:
    try:
        box, weight = region if len(region) == 2 else (region, 1.0)
        x0, y0, x1, y1 = (float(edge) for edge in box)
        return (x0, y0, x1, y1), float(weight)
    except (TypeError, ValueError):
        raise UsageError(
            f"expected each region as (x0, y0, x1, y1) or ((x0, y0, x1, y1), weight), got {region!r}; "
            "give a list, such as regions=[(0, 0, 64, 48)]"
        ) from None


def _of_one_image(maps: FeatureMaps) -> Geometry:
    if len(maps) != 1:
        raise UsageError(f"maps of {len(maps)} images came with a part of one; pick an image with maps[i]")
    if maps.geometry is None:
        raise UsageError("maps without a geometry came, so no pixel is known of a cell; encode the image with a model")
    return maps.geometry


def _size(geometry: Geometry) -> tuple[int, int]:
    width, height = geometry.size[0].tolist()
    return int(width), int(height)


def _check_region(box: Sequence[float], weight: float, width: int, height: int) -> None:
    # As many digits as tell an edge from the image's.
    said = f"the region {','.join(f'{edge:.12g}' for edge in box)}"
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise UsageError(f"{said} came; expected four numbers x0,y0,x1,y1")
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        raise UsageError(f"{said} is empty or reversed; expected x0 < x1 and y0 < y1")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise UsageError(f"{said} leaves the image of {width}x{height} pixels; keep it within 0,0,{width},{height}")
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"{said} came with weight {weight:g}; expected a number above 0")


def _raw_values(mask: Image.Image | npt.NDArray[np.generic] | Tensor) -> Float[Tensor, "*shape"]:
    if not isinstance(mask, Image.Image):
        return torch.as_tensor(mask).detach().to("cpu", torch.float64)
    upright = ImageOps.exif_transpose(mask)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        return torch.from_numpy(np.asarray(upright).astype(np.float64))
    if not upright.has_transparency_data:
        return torch.from_numpy(np.asarray(upright.convert("L")).astype(np.float64))
    # Not laid on white: what is transparent is not selected.
    grey, opacity = upright.convert("RGBA").convert("LA").split()
    return torch.from_numpy(np.asarray(grey).astype(np.float64) * np.asarray(opacity))


def _edges(geometry: Geometry, grid: tuple[int, int]) -> tuple[Float[Tensor, " h1"], Float[Tensor, " w1"]]:
    """Where the rows and the columns of cells begin and end, in pixels of the original, clipped to it."""
    x0, y0, x1, y1 = geometry.visible[0].tolist()
    width, height = geometry.size[0].tolist()
    y = torch.linspace(y0, y1, grid[0] + 1, dtype=torch.float64).clamp(0, height)
    x = torch.linspace(x0, x1, grid[1] + 1, dtype=torch.float64).clamp(0, width)
    return y, x


def _overlaps(edges: Float[Tensor, " n1"], low: Float[Tensor, " m"], high: Float[Tensor, " m"]) -> Float[Tensor, "n m"]:
    """Length that each interval between edges has in common with each interval from low to high."""
    return (torch.minimum(edges[1:, None], high) - torch.maximum(edges[:-1, None], low)).clamp(min=0)


def _normalised(covered: Float[Tensor, "h w"], nothing: str) -> Float[Tensor, "1 r"]:
    total = covered.sum()
    if not total > 0:
        raise UsageError(f"{nothing}; choose another part, or a model that prepares whole images")
    return (covered / total).reshape(1, -1)
