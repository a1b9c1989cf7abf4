"""Feature maps keep their images in order, with their geometry."""

import numpy as np
import pytest
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry


def maps(n=5, grid=(2, 3), own=False, geometry=True):
    local = torch.arange(n * grid[0] * grid[1] * 4, dtype=torch.float32).reshape(n, -1, 4)
    where = Geometry(torch.tensor([[60, 40]] * n), torch.tensor([[0.0, 0.0, 60.0, 40.0]] * n, dtype=torch.float64))
    return FeatureMaps(local, grid, torch.ones(n, 4) if own else None, where if geometry else None)


@pytest.mark.parametrize(
    "index", [2, -1, np.int64(1), slice(1, 4), [3, 0], torch.tensor([4, 4]), torch.tensor([True] * 5), []]
)
@pytest.mark.parametrize("own", [False, True])
def test_indexing_keeps_everything_together(index, own):
    whole, picked = maps(own=own), maps(own=own)[index]
    expected = whole.local[
        [index] if isinstance(index, int | np.integer) else slice(0) if isinstance(index, list) and not index else index
    ]
    assert torch.equal(picked.local, expected)
    assert len(picked.geometry.size) == len(picked) == len(picked.pooled)
    assert (picked.own_pooled is not None) == own


def test_an_image_beyond_the_last_is_an_index_error():
    with pytest.raises(IndexError):
        maps()[5]
    assert len(list(maps())) == 5


def test_cat_undoes_taking_apart():
    whole = maps()
    again = FeatureMaps.cat([whole[:2], whole[2:]])
    assert torch.equal(again.local, whole.local)
    assert torch.equal(again.geometry.visible, whole.geometry.visible)
    assert FeatureMaps.cat([whole, maps(geometry=False)]).geometry is None
    for other in (maps(own=True), maps(grid=(3, 2))):
        with pytest.raises(UsageError, match="cannot be joined"):
            FeatureMaps.cat([whole, other])
    with pytest.raises(UsageError):
        FeatureMaps.cat([])


def test_half_precision_is_pooled_in_float32():
    low = maps().to(torch.float16)
    assert low.dtype == torch.float16
    assert low.pooled.dtype == torch.float32
    torch.testing.assert_close(low.pooled, low.local.float().mean(1))
    assert low.geometry.visible.dtype == torch.float64


def test_boxes_tile_the_visible_part_and_are_clipped_to_the_image():
    boxes = maps().boxes(0)
    assert boxes[0].tolist() == [0, 0, 20, 20]
    assert boxes[5].tolist() == [40, 20, 60, 40]
    beyond = Geometry(torch.tensor([[60, 40]]), torch.tensor([[-10.0, 10.0, 50.0, 30.0]], dtype=torch.float64))
    boxes = FeatureMaps(torch.zeros(1, 4, 2), (2, 2), geometry=beyond).boxes(0)
    assert boxes[0].tolist() == [0, 10, 20, 20]
    assert boxes[3].tolist() == [20, 20, 50, 30]
    assert maps(geometry=False).boxes(0) is None


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    ("local", "grid", "more"),
    [
        (torch.zeros(2, 4), (2, 2), {}),
        (torch.zeros(2, 4, 3), (2, 3), {}),
        (torch.zeros(2, 0, 3), (0, 0), {}),
        (torch.zeros(2, 4, 3, dtype=torch.int64), (2, 2), {}),
        (torch.zeros(2, 4, 3), (2, 2), {"pooled": torch.zeros(2, 4)}),
        (torch.zeros(2, 4, 3), (2, 2), {"geometry": Geometry(torch.zeros(1, 2).long(), torch.zeros(1, 4))}),
    ],
)
def test_what_does_not_fit_is_refused(local, grid, more):
    with pytest.raises(UsageError):
        FeatureMaps(local, grid, **more)
