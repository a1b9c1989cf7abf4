"""Cells that a region or a mask chooses: by area, in pixels of the original, whatever the model saw of it."""

import numpy as np
import pytest
import torch
from PIL import Image

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import check_regions, mask_weights, region_weights

WHOLE = (0.0, 0.0, 40.0, 30.0)
CROPPED = (5.0, 0.0, 35.0, 30.0)
BEYOND = (-6.0, -3.0, 46.0, 33.0)


def maps(visible=WHOLE, grid=(3, 4), size=(40, 30)):
    geometry = Geometry(torch.tensor([size]), torch.tensor([visible], dtype=torch.float64))
    return FeatureMaps(torch.zeros(1, grid[0] * grid[1], 5), grid, geometry=geometry)


def by_counting(image, regions):
    """Pixels counted one by one in 10 x 10 pieces each: exact where all edges are multiples of a tenth."""
    x0, y0, x1, y1 = image.geometry.visible[0].tolist()
    width, height = image.geometry.size[0].tolist()
    rows, columns = image.grid
    y, x = (np.arange(side * 10) / 10 + 0.05 for side in (height, width))
    inside_y, inside_x = (y > y0) & (y < y1), (x > x0) & (x < x1)
    row, column = ((y - y0) / (y1 - y0) * rows).astype(int), ((x - x0) / (x1 - x0) * columns).astype(int)
    counts = np.zeros((rows, columns))
    for (left, top, right, bottom), weight in regions:
        for i in np.flatnonzero(inside_y & (y > top) & (y < bottom)):
            np.add.at(counts[row[i]], column[inside_x & (x > left) & (x < right)], weight)
    return counts.flatten() / counts.sum()


@pytest.mark.parametrize("visible", [WHOLE, CROPPED, BEYOND])
def test_areas_are_those_of_counting(visible):
    image = maps(visible)
    regions = [((3.0, 2.0, 17.5, 21.0), 1.0), ((10.0, 10.0, 40.0, 30.0), 2.5)]
    weights = region_weights(image, regions)
    np.testing.assert_allclose(weights[0].numpy(), by_counting(image, regions), atol=1e-12)
    assert weights.shape == (1, 12)
    assert weights.dtype == torch.float64


@pytest.mark.parametrize("visible", [WHOLE, CROPPED, BEYOND])
def test_a_mask_is_a_region_in_pixels(visible):
    mask = np.zeros((30, 40))
    mask[2:21, 3:17] += 1
    mask[10:30, 10:40] += 2.5
    regions = [((3.0, 2.0, 17.0, 21.0), 1.0), ((10.0, 10.0, 40.0, 30.0), 2.5)]
    torch.testing.assert_close(mask_weights(maps(visible), mask), region_weights(maps(visible), regions))
    torch.testing.assert_close(
        mask_weights(maps(visible), torch.from_numpy(7 * mask)), mask_weights(maps(visible), mask)
    )


def test_the_whole_image_is_uniform_and_a_cell_is_itself():
    torch.testing.assert_close(region_weights(maps(), [(WHOLE, 3.0)]), torch.full((1, 12), 1 / 12, dtype=torch.float64))
    for cell, box in enumerate(maps().boxes(0).tolist()):
        weights = region_weights(maps(), [(tuple(box), 1.0)])
        torch.testing.assert_close(weights[0], torch.eye(12, dtype=torch.float64)[cell])


def test_masks_of_every_kind_say_the_same():
    values = np.zeros((30, 40), np.uint8)
    values[:10, :20] = 255
    expected = mask_weights(maps(), values)
    assert expected[0].nonzero().flatten().tolist() == [0, 1]
    painted = Image.fromarray(values)
    clear = Image.merge("RGBA", [Image.new("L", (40, 30), 255)] * 3 + [painted])
    deep = Image.fromarray(values.astype(np.uint16) * 257)
    palette = painted.quantize(2)
    kinds = [painted, painted.convert("1"), painted.convert("RGB"), painted.convert("CMYK"), clear, deep, palette]
    for image in [*kinds, values > 0, torch.from_numpy(values), values.astype(np.float32) / 255]:
        torch.testing.assert_close(mask_weights(maps(), image), expected)


def test_a_mask_with_damaged_exif_data_is_taken_as_stored():
    values = np.zeros((30, 40), np.uint8)
    values[:10] = 255
    mask = Image.fromarray(values)
    mask.info["exif"] = b"Exif\0\0MM\0\x80\0\0\0\x08"
    torch.testing.assert_close(mask_weights(maps(), mask), mask_weights(maps(), values))


def test_a_mask_is_turned_upright_as_its_image_is():
    values = np.zeros((30, 40), np.uint8)
    values[:10, :20] = 255
    lying = Image.fromarray(values).transpose(Image.Transpose.ROTATE_90)
    lying.getexif()[0x0112] = 6
    torch.testing.assert_close(mask_weights(maps(), lying), mask_weights(maps(), values))


def test_half_grey_counts_half():
    values = np.zeros((30, 40), np.uint8)
    values[:10, :10], values[:10, 10:20] = 200, 100
    assert mask_weights(maps(), Image.fromarray(values))[0, :2].tolist() == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (((0.0, 0.0, 41.0, 10.0), 1.0), "0,0,41,10 extends beyond the image of 40x30"),
        (((-1.0, 0.0, 4.0, 10.0), 1.0), "extends beyond the image of 40x30 pixels; keep it within 0,0,40,30"),
        (((50.0, 50.0, 60.0, 60.0), 1.0), "extends beyond"),
        (((9.0, 0.0, 4.0, 10.0), 1.0), "9,0,4,10 is empty or reversed"),
        (((4.0, 5.0, 9.0, 5.0), 1.0), "empty or reversed"),
        (((float("nan"), 0.0, 4.0, 10.0), 1.0), "four finite numbers"),
        (((0.0, 0.0, 4.0, 10.0), 0.0), "above 0 for the region 0,0,4,10, got weight 0"),
        (((0.0, 0.0, 4.0, 10.0), float("inf")), "above 0"),
        (((0.0, 0.0, 5.0, 30.0), 1.0), "outside the area that the model saw"),
    ],
)
def test_regions_that_are_refused(region, said):
    with pytest.raises(UsageError, match=said):
        region_weights(maps(CROPPED), [region])


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.ones((40, 30)), "a mask of 40x30 pixels, the size of the image, got 30x40"),
        (np.ones((30, 40, 3)), "got shape"),
        (np.zeros((30, 40)), "selects nothing"),
        (np.full((30, 40), np.nan), "NaN"),
        (-np.ones((30, 40)), "negative"),
        (np.eye(30, 40, k=38), "outside the area that the model saw"),
        (Image.new("L", (30, 40), 255), "30x40"),
        (Image.new("RGBA", (40, 30), (255, 255, 255, 0)), "selects nothing"),
    ],
)
def test_masks_that_are_refused(mask, said):
    with pytest.raises(UsageError, match=said):
        mask_weights(maps(CROPPED), mask)


def test_weights_of_any_size():
    """Only their ratios matter, so the largest numbers do not overflow."""
    left, right = (0.0, 0.0, 20.0, 30.0), (20.0, 0.0, 40.0, 30.0)
    expected = region_weights(maps(), [(left, 1.0), (right, 3.0)])
    huge = region_weights(maps(), [(left, 5e307), (right, 1.5e308)])
    torch.testing.assert_close(huge, expected)
    values = np.ones((30, 40))
    values[:, 20:] = 3
    torch.testing.assert_close(mask_weights(maps(), values * 5e307), expected)


def test_an_edge_that_hardly_leaves_the_image_is_told_apart():
    check_regions([(WHOLE, 1.0)], (40, 30))
    with pytest.raises(UsageError, match=r"0,0,40.0001,30 extends beyond the image of 40x30"):
        check_regions([((0.0, 0.0, 40.0001, 30.0), 1.0)], (40, 30))


def test_maps_that_know_no_pixels_are_refused():
    with pytest.raises(UsageError, match="maps with geometry"):
        region_weights(FeatureMaps(torch.zeros(1, 4, 3), (2, 2)), [(WHOLE, 1.0)])
    with pytest.raises(UsageError, match="maps of one image, got 2 images"):
        region_weights(FeatureMaps.cat([maps(), maps()]), [(WHOLE, 1.0)])
    with pytest.raises(UsageError, match="no region"):
        region_weights(maps(), [])
