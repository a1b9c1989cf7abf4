"""What `diml bench --device cuda` tries, without a GPU: every tile once for each scheme."""

import pytest
import torch

from diml.cli import bench
from diml.errors import UsageError
from diml.matching.speed import Speed, measure_tiles

backend = pytest.importorskip("diml.matching.kernels.triton_scores")
CPU = torch.device("cpu")


@pytest.fixture
def asked(monkeypatch):
    """Replaces the measurement on a GPU."""
    calls = []

    def clock(rows_a, rows_b, settings, tile):
        calls.append((rows_a, rows_b, settings.scheme, tile))
        return 1000.0 * len(calls)

    monkeypatch.setattr(backend, "pairs_per_second", clock)
    return calls


def test_every_tile_is_tried(asked):
    speeds = list(measure_tiles((4, 4), 8, CPU, images=3))
    tiles = backend.tiles(16, 16)
    assert [call[2:] for call in asked] == [
        (scheme, tile) for scheme in ("uniform", "cross_correlation") for tile in tiles
    ]
    assert len({speed.tile for speed in speeds}) == len(tiles)
    assert speeds[0].tile == "4x2"
    assert "registers" in speeds[len(tiles) - 1].tile
    assert [speed.pairs_per_second for speed in speeds] == [1000.0 * (k + 1) for k in range(len(speeds))]
    rows_a, rows_b = asked[0][:2]
    assert rows_a.parts.dtype == torch.float16
    assert not torch.equal(rows_a.parts, rows_b.parts)


def test_a_grid_that_the_backend_does_not_hold(asked):
    with pytest.raises(UsageError, match="at most 64"):
        list(measure_tiles((9, 9), 8, CPU, images=2))


def test_the_table(asked):
    lines = bench._tiles(list(measure_tiles((4, 4), 8, CPU, images=2))).splitlines()
    assert len(lines) == 2 + len(asked)
    assert len({len(line) for line in lines}) == 1


def test_no_tiles_are_tried_where_the_backend_is_missing():
    assert not bench._has_tiles([Speed("torch", "uniform", 1.0), Speed("cuda", "uniform", missing="no GPU")])
    assert bench._has_tiles([Speed("cuda", "uniform", 1.0)])
