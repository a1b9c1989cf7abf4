"""The bootstrap holds the true mean as often as it says, and knows what is not independent."""

import math

import numpy as np
import pytest

from diml.faithfulness import estimate


def names(n):
    return [str(i) for i in range(n)]


def test_it_is_the_mean_and_lies_around_it():
    values = np.random.default_rng(0).normal(3.0, 1.0, 200)
    found = estimate(values, names(200))
    assert math.isclose(found.mean, values.mean())
    assert found.low < found.mean < found.high
    # The normal interval of a mean of 200: the bootstrap's ends lie near its.
    half = 1.96 * values.std() / math.sqrt(200)
    assert abs(found.high - (found.mean + half)) < 0.02
    assert abs(found.low - (found.mean - half)) < 0.02


@pytest.mark.slow
def test_it_holds_the_true_mean_as_often_as_it_says():
    """300 samples of 60 skewed values: 95 % would be 285; a sound interval misses by no more than 4 deviations."""
    random = np.random.default_rng(1)
    held = 0
    for trial in range(300):
        found = estimate(random.exponential(1.0, 60), names(60), seed=trial)
        held += found.low <= 1.0 <= found.high
    assert held >= 285 - 4 * math.sqrt(300 * 0.05 * 0.95)


def test_copies_of_a_value_make_it_no_surer():
    values = np.random.default_rng(2).normal(0.0, 1.0, 20)
    once = estimate(values, names(20))
    nine = estimate(np.repeat(values, 9), np.repeat(names(20), 9).tolist())
    blind = estimate(np.repeat(values, 9), names(180))
    assert math.isclose(nine.high - nine.low, once.high - once.low, rel_tol=1e-9)
    assert blind.high - blind.low < 0.5 * (once.high - once.low)


def test_what_is_not_defined_is_left_out():
    found = estimate([1.0, float("nan"), 3.0], names(3))
    assert found.mean == 2.0
    nothing = estimate([float("nan")], ["a"])
    assert math.isnan(nothing.mean)
    assert nothing.to_dict() == {"mean": None, "low": None, "high": None}


def test_one_group_has_no_interval():
    found = estimate([1.0, 2.0], ["a", "a"])
    assert found.mean == 1.5
    assert math.isnan(found.low)


def test_it_repeats():
    values = np.random.default_rng(3).normal(size=30)
    assert estimate(values, names(30), seed=5) == estimate(values, names(30), seed=5)
