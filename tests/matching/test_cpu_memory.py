"""Compiled code writes to its arrays only, whose bounds it does not check, and nothing depends on their alignment."""

import numpy as np
import pytest
import torch

from diml.feature_maps import FeatureMaps
from diml.matching import prepare
from diml.matching.kernels import BackendSettings, compiling, cpu_scores

GUARD, CANARY = 64, 12345


@pytest.fixture
def guarded(monkeypatch):
    """A workspace between canaries, each array aligned differently; gives a function that checks the canaries."""
    buffers = []

    def between_canaries(array):
        start = GUARD + len(buffers) % 16  # called by several threads: asked once
        buffer = np.full(start + len(array) + GUARD, CANARY, array.dtype)
        view = buffer[start : start + len(array)]
        view[:] = array
        buffers.append((buffer, start, len(array)))
        return view

    def workspace(*shape, plans):
        return tuple(tuple(map(between_canaries, part)) for part in compiling.new_workspace(*shape, plans=plans))

    def intact():
        assert buffers
        return all((b[:start] == CANARY).all() and (b[start + size :] == CANARY).all() for b, start, size in buffers)

    monkeypatch.setattr(cpu_scores, "new_workspace", workspace)
    return intact


def rows_of(seed, n, grid, dim=24):
    random = torch.Generator().manual_seed(seed)
    common = torch.randn(n, 1, dim, generator=random)
    parts = common + torch.randn(n, grid[0] * grid[1], dim, generator=random)
    return prepare(FeatureMaps(parts, grid)).rows


@pytest.mark.parametrize("scheme", ["uniform", "cross_correlation"])
@pytest.mark.parametrize("grids", [((4, 4), (4, 4)), ((3, 5), (1, 1)), ((1, 2), (7, 3))])
def test_nothing_is_written_beside_the_scratch(grids, scheme, guarded):
    a, b = rows_of(0, 30, grids[0]), rows_of(1, 41, grids[1])
    random = torch.Generator().manual_seed(2)
    i, j = (torch.randint(n, (700,), generator=random) for n in (30, 41))
    how = BackendSettings(scheme, tolerance=1e-4)
    products = torch.einsum("nkd,mld->nkml", a, b).contiguous()

    def everything():
        yield from cpu_scores.score_pairs(a, b, i, j, how)
        yield from cpu_scores.score_matrix(a, b, how)
        yield from cpu_scores.bound_pairs(a, b, i, j, how)
        yield from cpu_scores.plan_pairs(a, b, i, j, how)
        yield from cpu_scores.plan_products(products, i, j, how)

    found = list(everything())
    assert guarded()
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(cpu_scores, "new_workspace", compiling.new_workspace)
        for one, other in zip(found, everything(), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("size", [1, 16, 1000])
def test_scratch_is_aligned_and_no_longer_than_asked_for(size):
    """An array made longer by its alignment once made moves write past the end of a shorter one."""
    for _ in range(5):
        array = compiling.aligned(size)
        assert len(array) == size
        assert not array.any()
        assert array.ctypes.data % 64 == 0
