"""Parts of an image, given in pixels, as weights of the cells that show them."""

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
    """Bring regions to the form `((x0, y0, x1, y1), weight)`, with floats.

    Raises:
        UsageError: the argument is not a list of boxes, or a box is not four numbers.

    >>> as_regions([(0, 0, 64, 48), ((8, 0, 64, 48), 2)])
    (((0.0, 0.0, 64.0, 48.0), 1.0), ((8.0, 0.0, 64.0, 48.0), 2.0))
    """
    return tuple(_as_region(region) for region in regions)


def region_weights(maps: FeatureMaps, regions: Sequence[RegionLike]) -> Float[Tensor, "1 r"]:
    """How much of each cell the regions cover: `mu_i ~ sum_k weight_k area(cell_i and region_k)`.

    Partly covered cells count by area, in pixels of the original; where regions overlap, their weights add up.

    Args:
        maps: feature maps of one image, with geometry.
        regions: at least one `(x0, y0, x1, y1)` or `((x0, y0, x1, y1), weight)`, in pixels of the original after its
            EXIF orientation, x to the right, y down; a weight is finite and above 0, by default 1.

    Returns:
        (1, r) float64, >= 0, summing to 1.

    Raises:
        UsageError: there is no region, a region is empty or extends beyond the image, a weight is not above 0, or the
            regions lie outside the area that the model saw.

    >>> geometry = Geometry(torch.tensor([[100, 50]]), torch.tensor([[0.0, 0.0, 100.0, 50.0]]).double())
    >>> maps = FeatureMaps(torch.zeros(1, 4, 3), (2, 2), geometry=geometry)
    >>> region_weights(maps, [((25.0, 0.0, 100.0, 25.0), 1.0)])
    tensor([[0.3333, 0.6667, 0.0000, 0.0000]], dtype=torch.float64)
    """
    geometry = _of_one_image(maps)
    if not regions:
        raise UsageError("expected at least one region (x0, y0, x1, y1), got no region")
    weighed = as_regions(regions)
    check_regions(weighed, _size(geometry))
    rows, columns = _edges(geometry, maps.grid)
    covered = torch.zeros(maps.grid, dtype=torch.float64)
    heaviest = max(weight for _, weight in weighed)
    for box, weight in weighed:
        x0, y0, x1, y1 = (torch.tensor([edge], dtype=torch.float64) for edge in box)
        covered += weight / heaviest * _overlaps(rows, y0, y1) @ _overlaps(columns, x0, x1).mT
    return _normalised(covered, "the regions lie outside the area that the model saw")


def mask_weights(maps: FeatureMaps, mask: Image.Image | npt.NDArray[np.generic] | Tensor) -> Float[Tensor, "1 r"]:
    """How much of each cell a mask selects: `mu_i ~` the sum of the mask's values over the pixels of the cell.

    Args:
        maps: feature maps of one image, with geometry.
        mask: of the same size as the original after its EXIF orientation. Of an image the grey value times the opacity
            is used, of an array (H, W) the values, which must be finite and >= 0.

    Returns:
        (1, r) float64, >= 0, summing to 1.

    Raises:
        UsageError: the mask has another size, has negative or non-finite values, selects nothing, or selects only what
            lies outside the area that the model saw.

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
    return _normalised(selected, "the mask selects only what lies outside the area that the model saw")


def check_regions(regions: Sequence[Region], size: tuple[int, int]) -> None:
    """Check regions against an image's width and height, before it is embedded.

    Raises:
        UsageError: a region is empty or extends beyond the image, or a weight is not above 0.

    >>> check_regions([((0.0, 0.0, 64.0, 48.0), 1.0)], (64, 48))
    """
    for box, weight in regions:
        _check_region(box, weight, *size)


def mask_values(
    mask: Image.Image | npt.NDArray[np.generic] | Tensor, size: tuple[int, int]
) -> Float[Tensor, "height width"]:
    """How much each pixel counts, 0..1, according to a mask for an image of that width and height.

    Raises:
        UsageError: the mask has another size, has negative or non-finite values, or selects nothing.

    >>> mask_values(np.array([[0, 2]]), (2, 1))
    tensor([[0., 1.]], dtype=torch.float64)
    """
    values, (width, height) = _raw_values(mask), size
    if tuple(values.shape) != (height, width):
        got = f"{values.shape[1]}x{values.shape[0]}" if values.ndim == 2 else f"shape {tuple(values.shape)}"
        raise UsageError(f"expected a mask of {width}x{height} pixels, the size of the image, got {got}")
    if not values.isfinite().all() or (values < 0).any():
        raise UsageError("expected mask values >= 0, got negative, NaN or infinite values")
    if not values.any():
        raise UsageError("the mask selects nothing, all its values are 0; paint the part to look for")
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
        raise UsageError(f"expected feature maps of one image, got {len(maps)} images; pick one with maps[i]")
    if maps.geometry is None:
        raise UsageError("expected feature maps with geometry, which relates cells to pixels; encode the image itself")
    return maps.geometry


def _size(geometry: Geometry) -> tuple[int, int]:
    width, height = geometry.size[0].tolist()
    return int(width), int(height)


def _check_region(box: Sequence[float], weight: float, width: int, height: int) -> None:
    # Enough digits to distinguish an edge of the region from an edge of the image.
    text = ",".join(f"{edge:.12g}" for edge in box)
    if len(box) != 4 or not all(map(math.isfinite, box)):
        raise UsageError(f"expected a region of four finite numbers x0,y0,x1,y1, got {text}")
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        raise UsageError(f"the region {text} is empty or reversed; expected x0 < x1 and y0 < y1")
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        raise UsageError(
            f"the region {text} extends beyond the image of {width}x{height} pixels; "
            f"keep it within 0,0,{width},{height}"
        )
    if not (math.isfinite(weight) and weight > 0):
        raise UsageError(f"expected a weight above 0 for the region {text}, got weight {weight:g}")


def _raw_values(mask: Image.Image | npt.NDArray[np.generic] | Tensor) -> Float[Tensor, "*shape"]:
    if not isinstance(mask, Image.Image):
        return torch.as_tensor(mask).detach().to("cpu", torch.float64)
    upright = _upright(mask)
    if upright.mode in ("I", "F") or upright.mode.startswith("I;16"):
        return torch.from_numpy(np.asarray(upright).astype(np.float64))
    if not upright.has_transparency_data:
        return torch.from_numpy(np.asarray(upright.convert("L")).astype(np.float64))
    # Transparent pixels are not selected, so unlike in images they do not become white.
    grey, opacity = upright.convert("RGBA").convert("LA").split()
    return torch.from_numpy(np.asarray(grey).astype(np.float64) * np.asarray(opacity))


def _upright(mask: Image.Image) -> Image.Image:
    """As stored where the EXIF data is damaged."""
    try:
        return ImageOps.exif_transpose(mask)
    except Exception:
        return mask


def _edges(geometry: Geometry, grid: tuple[int, int]) -> tuple[Float[Tensor, " h1"], Float[Tensor, " w1"]]:
    """Boundaries of the rows and the columns of cells, in pixels of the original, clipped to it."""
    x0, y0, x1, y1 = geometry.visible[0].tolist()
    width, height = geometry.size[0].tolist()
    y = torch.linspace(y0, y1, grid[0] + 1, dtype=torch.float64).clamp(0, height)
    x = torch.linspace(x0, x1, grid[1] + 1, dtype=torch.float64).clamp(0, width)
    return y, x


def _overlaps(edges: Float[Tensor, " n1"], low: Float[Tensor, " m"], high: Float[Tensor, " m"]) -> Float[Tensor, "n m"]:
    """Length of the overlap of each interval between edges with each interval from low to high."""
    return (torch.minimum(edges[1:, None], high) - torch.maximum(edges[:-1, None], low)).clamp(min=0)


def _normalised(covered: Float[Tensor, "h w"], if_zero: str) -> Float[Tensor, "1 r"]:
    total = covered.sum()
    if not total > 0:
        raise UsageError(f"{if_zero}; choose another part, or a model that does not crop images")
    return (covered / total).reshape(1, -1)
