"""Maps are normalised once and a backend is chosen once a call, however many pieces the work is done in."""

import pytest
import torch
from torch import nn

from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, dispatch, top_k, topk, unit_maps
from diml.model import StructuralModel


def maps(seed, n):
    return FeatureMaps(torch.randn(n, 4, 8, generator=torch.Generator().manual_seed(seed)), (2, 2))


@pytest.fixture
def prepared(monkeypatch):
    """Numbers of images, one for each set of maps that was normalised."""
    counts, original = [], unit_maps._unit_rows
    monkeypatch.setattr(unit_maps, "_unit_rows", lambda maps: counts.append(len(maps)) or original(maps))
    return counts


@pytest.fixture
def chosen(monkeypatch):
    """Devices, one for each choice of a backend."""
    devices, original = [], dispatch.choose_backend
    monkeypatch.setattr(dispatch, "choose_backend", lambda device: devices.append(device) or original(device))
    return devices


@pytest.mark.parametrize("kernel", ["torch", "cpu"])
class TestOnce:
    @pytest.fixture(autouse=True)
    def forced(self, kernel, monkeypatch):
        monkeypatch.setenv("DIML_KERNEL", kernel)

    def test_rerank(self, prepared, chosen):
        Matcher().rerank(maps(0, 3), maps(1, 5), torch.tensor([[0, 4]] * 3))
        assert (prepared, len(chosen)) == ([3, 5], 1)

    def test_all_pairs(self, prepared, chosen):
        assert len(list(Matcher().tiles(maps(0, 7), maps(1, 9), side=2))) == 20
        assert (prepared, len(chosen)) == ([7, 9], 1)
        Matcher().similarity(maps(0, 7), maps(1, 9))
        assert (prepared, len(chosen)) == ([7, 9, 7, 9], 2)

    def test_the_best(self, prepared, chosen, monkeypatch):
        monkeypatch.setattr(topk, "HELD", 60)  # blocks of three queries
        found = top_k(Matcher(), maps(0, 7), maps(1, 20), 1)
        assert found.solved > 7
        assert (prepared, len(chosen)) == ([7, 20], 1)

    def test_a_query_of_several_galleries(self, prepared, chosen):
        query = StructuralModel.wrap(nn.Conv2d(3, 8, 16, 16)).query(maps(0, 1))
        scores, best = query.scores(maps(1, 6)), query.best(maps(2, 5), 2)
        assert (scores.shape, best[0].shape) == ((6,), (2,))
        assert (prepared, len(chosen)) == ([1, 6, 5], 2)
