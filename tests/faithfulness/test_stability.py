"""Small changes are small, and their effect is a rank correlation."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from diml.explanation.methods import methods
from diml.faithfulness import ImagePair, LazyImage
from diml.faithfulness.embedded_pairs import embed_pairs
from diml.faithfulness.stability import CHANGES, jpeg, noisy, rank_correlation, shifted, stability


@pytest.mark.parametrize("seed", range(5))
def test_the_rank_correlation_is_scipys(seed):
    generator = torch.Generator().manual_seed(seed)
    a = torch.randint(5, (16,), generator=generator).double()  # with ties
    b = a + 2 * torch.rand(16, generator=generator)
    assert math.isclose(rank_correlation(a, b), scipy.stats.spearmanr(a, b).statistic, abs_tol=1e-12)


def test_a_constant_has_no_rank():
    assert math.isnan(rank_correlation(torch.ones(4), torch.arange(4.0)))


def test_changes_are_small_and_repeat(noise_image):
    image = noise_image(1).resize((64, 64))
    values = np.asarray(image, dtype=float)
    for change in CHANGES.values():
        changed = change(image, 7)
        assert changed.size == image.size
        assert changed.mode == "RGB"
        assert np.array_equal(np.asarray(change(image, 7)), np.asarray(changed))
        assert not np.array_equal(np.asarray(changed), np.asarray(image))
    noise = np.asarray(noisy(image, 7), dtype=float) - values
    inner = noise[(values > 30) & (values < 225)]
    assert 4.5 < inner.std() < 5.5
    assert not np.array_equal(np.asarray(noisy(image, 7)), np.asarray(noisy(image, 8)))
    assert np.abs(np.asarray(jpeg(image, 0), dtype=float) - values).mean() < 20


def test_a_shift_moves_all_but_the_first_row_and_column(noise_image):
    image = noise_image(1)
    before, after = np.asarray(image), np.asarray(shifted(image, 0))
    assert np.array_equal(after[1:, 1:], before[:-1, :-1])
    assert np.array_equal(after[0, 0], before[0, 0])
    assert np.array_equal(after[0, 1:], before[0, :-1])
    assert np.array_equal(after[1:, 0], before[:-1, 0])


def test_what_knows_nothing_of_the_image_is_perfectly_stable(small_model, noise_image):
    model = small_model()
    pictures = [LazyImage(str(s), lambda s=s: noise_image(s)) for s in (1, 2)]
    seen, _ = embed_pairs(model, [ImagePair(*pictures, "")])
    chosen = methods(["structural", "contributions", "centre", "identity", "sbsm"])
    found = stability([each.given for each in seen], chosen)
    assert set(found) == {"structural", "contributions", "centre", "identity", "sbsm"}
    for name in ("centre", "identity"):
        assert all(math.isclose(values[0], 1.0) for values in found[name].values())
    assert all(-1 <= values[0] <= 1 for values in found["structural"].values())
    assert found["structural"]["noise"][0] > 0.8
