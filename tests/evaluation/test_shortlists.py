"""Shortlists as one writes them, and a sentence for what cannot be one."""

import numpy as np
import pytest

from diml.errors import UsageError
from diml.evaluation.shortlists import check_shortlists


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (100, [100]),
        ("all", ["all"]),
        ([0, 100], [0, 100]),
        ((100.0, "all", 100), [100, "all"]),
        (np.array([0, 10]), [0, 10]),
    ],
)
def test_one_or_several(given, meant):
    checked = check_shortlists(given)
    assert checked == meant
    assert all(each == "all" or type(each) is int for each in checked)


@pytest.mark.parametrize("given", [[], -1, [0, -5], 2.5, ["some"], [None], "10", float("nan")])
def test_what_is_none_is_refused(given):
    with pytest.raises(UsageError, match=r"^expected .*shortlist"):
        check_shortlists(given)
