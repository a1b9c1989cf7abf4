"""Heat on the object: known masks, known heats."""

import math

import pytest
import torch
from PIL import Image

from diml.errors import UsageError
from diml.faithfulness import CellMasks, ImagePair, LazyImage, ObjectMasks, object_heat
from diml.faithfulness.embedded_pairs import embed_pairs
from diml.faithfulness.object_heat import cell_cover, even_heats


def box(size, *edges):
    mask = Image.new("L", size)
    mask.paste(255, edges)
    return mask


@pytest.fixture
def masks():
    """4 x 4 cells of 8 pixels: the object covers one cell and half of the next, another object one cell elsewhere."""
    size = (32, 32)
    return CellMasks.of((4, 4), (0, 0, 32, 32), size, box(size, 8, 8, 20, 16), box(size, 0, 24, 8, 32))


def test_cells_show_what_the_masks_say(masks):
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[1, 1:3] = torch.tensor([1.0, 0.5])
    torch.testing.assert_close(masks.object, expected, atol=1e-12, rtol=0)
    assert masks.other[3, 0] == 1
    assert masks.other.sum() == 1
    assert masks.centre.nonzero().tolist() == [[1, 1]]  # the mask ends at the centre of the next cell


def test_heat_on_the_object_alone_gives_one(masks):
    heat = torch.full((4, 4), -1.0)
    heat[1, 1] = 2.0
    found = object_heat(heat, masks)
    assert (found.share, found.right, found.pointed, found.covered) == (1, 1, 1, 1)


def test_even_heat_gives_shares_of_area(masks):
    [heat] = even_heats([masks])
    found = object_heat(heat, masks)
    assert found.share == pytest.approx(1.5 / 16)
    assert found.right == pytest.approx(1.5 / 2.5)
    assert found.pointed == pytest.approx(1 / 16)
    assert found.covered == pytest.approx(found.share)
    # No positive heat says as much as even heat.
    assert object_heat(0 * heat, masks).share == found.share
    assert object_heat(-heat, masks).share == found.share


def test_heat_on_the_other_object_counts_against(masks):
    heat = torch.zeros(4, 4)
    heat[1, 1], heat[3, 0] = 1.0, 3.0
    found = object_heat(heat, masks)
    assert (found.share, found.right, found.pointed, found.covered) == (0.25, 0.25, 0, 0)
    heat[3, 0] = 1.0
    assert object_heat(heat, masks).pointed == 0.5  # the two strongest count in part


def test_nothing_on_either_object_is_no_answer(masks):
    heat = torch.zeros(4, 4)
    heat[0, 0] = 1.0
    assert math.isnan(object_heat(heat, masks).right)
    alone = CellMasks(masks.object, masks.centre)
    assert math.isnan(object_heat(heat + 1, alone).right)


def test_a_scaled_heat_is_the_same_heat(masks):
    heat = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    one, other = object_heat(heat, masks), object_heat(7 * heat, masks)
    assert one.share == pytest.approx(other.share)
    assert (one.pointed, one.covered) == (other.pointed, other.covered)


@pytest.mark.parametrize("visible", [(0.0, 0.0, 30.0, 20.0), (3.5, 2.25, 26.5, 17.75), (-5.0, 0.0, 35.0, 20.0)])
def test_cover_is_exact(visible):
    """Against a mean over a fine raster of each cell."""
    mask = (torch.rand(20, 30, generator=torch.Generator().manual_seed(1)) > 0.5).double()
    found = cell_cover(mask, visible, (3, 5))
    x0, y0, x1, y1 = visible
    fine = 400
    x = ((torch.arange(5 * fine) + 0.5) / (5 * fine) * (x1 - x0) + x0).floor().long()
    y = ((torch.arange(3 * fine) + 0.5) / (3 * fine) * (y1 - y0) + y0).floor().long()
    inside = ((y >= 0) & (y < 20))[:, None] & ((x >= 0) & (x < 30))
    raster = inside * mask[y.clamp(0, 19)][:, x.clamp(0, 29)]
    torch.testing.assert_close(found, raster.reshape(3, fine, 5, fine).mean(dim=(1, 3)), atol=6e-3, rtol=0)


def test_what_cannot_be_scored(masks):
    with pytest.raises(UsageError, match=r"expected a heat of \(4, 4\) cells, as the masks have, got \(2, 2\)"):
        object_heat(torch.zeros(2, 2), masks)
    with pytest.raises(UsageError, match="expected a mask of 32x32 pixels, the size of the image, got 8x8"):
        CellMasks.of((4, 4), (0, 0, 32, 32), (32, 32), box((8, 8), 0, 0, 4, 4))


def pair(noise_image, mask, measured="b"):
    images = [LazyImage(f"{s}", lambda s=s: noise_image(s, (64, 32))) for s in (1, 2)]
    return ImagePair(*images, "", measured=measured, masks=ObjectMasks(LazyImage("mask", lambda: mask)))


def test_masks_follow_the_crop_that_the_model_sees(small_model, noise_image):
    import dataclasses

    model = small_model()
    model.encoder.preprocessing = dataclasses.replace(model.encoder.preprocessing, fit="crop", crop=1.0)
    # The crop keeps the middle 32 of 64 columns: cells of 8 pixels that begin at 16.
    [seen], failed = embed_pairs(model, [pair(noise_image, box((64, 32), 16, 8, 24, 16))])
    assert not failed
    assert seen.masks.object.nonzero().tolist() == [[1, 0]]
    assert seen.masks.object[1, 0] == pytest.approx(1)


def test_a_mask_that_does_not_fit_is_told_and_its_pair_left_out(small_model, noise_image):
    good, bad = pair(noise_image, box((64, 32), 0, 0, 9, 9)), pair(noise_image, box((9, 9), 0, 0, 9, 9))
    seen, failed = embed_pairs(small_model(), [good, bad])
    assert len(seen) == 1
    assert failed == [("mask", "expected a mask of 64x32 pixels, the size of the image, got 9x9")]
