"""The numbers of an explanation: they add up, are in order, and are plain JSON."""

import json

import pytest
import torch

from diml.errors import UsageError
from diml.explanation import Conditions, NamedImage, PairExplanation, heat
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher

KEYS = [
    "a",
    "b",
    "model",
    "grid",
    "weight",
    "marginals",
    "similarity",
    "structural",
    "pooled",
    "residual",
    "regions",
    "matches",
]
ENTRY = ["a", "b", "a_box", "b_box", "mass", "similarity", "contribution"]


def test_the_document_has_the_promised_keys_and_survives_json(match):
    a, b = NamedImage("x.jpg", "x.jpg"), NamedImage("y.jpg", "y.jpg")
    document = PairExplanation(match, a, b, Conditions("lite0", "uniform")).to_dict()
    assert list(document)[: len(KEYS)] == KEYS
    assert all(list(entry) == ENTRY for entry in document["matches"])
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["a"], document["b"], document["model"], document["marginals"]) == (
        "x.jpg",
        "y.jpg",
        "lite0",
        "uniform",
    )
    assert document["grid"] == [4, 4]
    assert document["converged"] is True
    assert "grid_b" not in document


def test_contributions_and_residual_add_up_to_the_similarity(match, unequal, with_residual):
    for each in (match, unequal, with_residual):
        document = PairExplanation(each).to_dict()
        total = sum(entry["contribution"] for entry in document["matches"])
        assert total + document["residual"] == pytest.approx(document["similarity"], abs=1e-12)
        made_of = (1 - document["weight"]) * document["pooled"] + document["weight"] * document["structural"]
        assert made_of == pytest.approx(document["similarity"], abs=1e-12)
    assert abs(PairExplanation(match).to_dict()["residual"]) < 1e-10
    assert abs(PairExplanation(with_residual).to_dict()["residual"]) > 1e-3


def test_all_pairs_are_there_once_strongest_first_negative_ones_last(match):
    entries = PairExplanation(match).to_dict()["matches"]
    assert len({(*entry["a"], *entry["b"]) for entry in entries}) == len(entries) == 256
    contributions = [entry["contribution"] for entry in entries]
    assert contributions == sorted(contributions, reverse=True)
    assert contributions[-1] < 0 < contributions[0]
    assert sum(entry["mass"] for entry in entries) == pytest.approx(1, abs=1e-5)


def test_boxes_lie_in_the_originals(match):
    for entry in PairExplanation(match).to_dict()["matches"]:
        row, column = entry["a"]
        assert entry["a_box"] == [column * 30, row * 20, column * 30 + 30, row * 20 + 20]
        row, column = entry["b"]
        assert entry["b_box"] == [column * 15, row * 22.5, column * 15 + 15, row * 22.5 + 22.5]


def test_unequal_grids_and_unknown_places_are_said(unequal, nowhere):
    document = PairExplanation(unequal).to_dict()
    assert (document["grid"], document["grid_b"]) == ([2, 3], [4, 4])
    assert len(document["matches"]) == 6 * 16
    assert all(
        entry["a_box"] is None and entry["b_box"] is None for entry in PairExplanation(nowhere).to_dict()["matches"]
    )


def test_heat_adds_up_on_both_images(match, unequal, with_residual):
    for each in (match, unequal, with_residual):
        heat_a, heat_b = heat(each)
        assert (tuple(heat_a.shape), tuple(heat_b.shape)) == (each.maps_a.grid, each.maps_b.grid)
        explained = float(each.similarity[0] - each.residual[0])
        assert float(heat_a.sum()) == pytest.approx(explained, abs=1e-10)
        assert float(heat_b.sum()) == pytest.approx(explained, abs=1e-10)


def test_heat_of_a_cell_is_the_sum_of_its_pairs(unequal):
    heat_a, heat_b = heat(unequal)
    entries = PairExplanation(unequal).to_dict()["matches"]
    a = sum(entry["contribution"] for entry in entries if entry["a"] == [1, 2])
    b = sum(entry["contribution"] for entry in entries if entry["b"] == [3, 0])
    assert (float(heat_a[1, 2]), float(heat_b[3, 0])) == (pytest.approx(a), pytest.approx(b))


def test_several_pairs_are_refused():
    both = FeatureMaps(torch.randn(2, 4, 3), (2, 2))
    match = Matcher().match(both, both)
    for refuses in (PairExplanation, heat):
        with pytest.raises(UsageError, match="2 pairs"):
            refuses(match)
    assert PairExplanation(match[1]).to_dict()["converged"] is True


def test_gradients_do_not_get_in_the_way():
    one = FeatureMaps(torch.randn(1, 4, 3, requires_grad=True), (2, 2))
    match = Matcher().match(one, one)
    assert json.dumps(PairExplanation(match).to_dict(), allow_nan=False)
    assert not heat(match)[0].requires_grad
