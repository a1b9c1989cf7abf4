"""Resampling keeps the mean; the paper's way does not, and says so by its name."""

import pytest
import torch

from diml.embedding.resampling import area, area_matrix, bilinear16
from diml.errors import UsageError


@pytest.mark.parametrize("cells", [1, 2, 5, 7, 14, 16])
@pytest.mark.parametrize("to", [1, 2, 3, 4, 7])
def test_area_keeps_the_mean_and_constants(cells, to):
    matrix = area_matrix(cells, to)
    torch.testing.assert_close(matrix.sum(1), torch.ones(to, dtype=torch.float64), atol=1e-14, rtol=0)
    torch.testing.assert_close(matrix.sum(0), torch.full((cells,), to / cells, dtype=torch.float64), atol=1e-14, rtol=0)
    maps = torch.randn(2, 3, cells, 9, dtype=torch.float64)
    assert (area(maps, (to, 4)).mean((2, 3)) - maps.mean((2, 3))).abs().max() < 1e-14


def test_area_is_block_means_where_cells_divide():
    maps = torch.randn(1, 2, 8, 4)
    torch.testing.assert_close(area(maps, (4, 2)), torch.nn.functional.avg_pool2d(maps, 2))
    assert area(maps, (8, 4)) is maps


def test_area_by_counting_fine_cells():
    """7 cells to 4: refine both to 28 and average by hand."""
    maps = torch.randn(7, dtype=torch.float64)
    fine = maps.repeat_interleave(4).reshape(4, 7).mean(1)
    torch.testing.assert_close(area(maps.reshape(1, 1, 7, 1), (4, 1)).flatten(), fine)


def test_bilinear16_is_what_the_paper_describes_and_moves_the_mean():
    maps = torch.randn(1, 1, 7, 7, dtype=torch.float64)
    out = bilinear16(maps, (4, 4))
    assert out.shape == (1, 1, 4, 4)
    assert (out.mean() - maps.mean()).abs() > 1e-4
    with pytest.raises(UsageError, match="divide 16"):
        bilinear16(maps, (7, 7))
