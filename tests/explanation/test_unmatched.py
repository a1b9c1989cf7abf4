"""What found no counterpart: its place in words, documents and sums, for all transports that leave something."""

import json
import re

import pytest
import torch

from diml.explanation import Agreement, Conditions, Contrast, PairExplanation, PartSums, heat
from diml.explanation.drawing import pair_figure
from diml.explanation.words import percent
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher

DUSTBIN = {"transport": "dustbin", "bin_similarity": 0.3}
LEAVING = [DUSTBIN, {"mass": 0.6}, {"transport": "one-sided"}]


def weighted(maps, seed=0):
    """The same maps, of which a quarter of the parts weigh little."""
    weights = torch.rand(1, maps.parts, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5
    weights[:, ::4] = 0.02
    return FeatureMaps(maps.local, maps.grid, geometry=maps.geometry, weights=weights / weights.sum())


def matched(maps_of, settings, seed=2, weights=False):
    a, b = maps_of(1), maps_of(seed, size=(60, 90))
    return Matcher(**settings).tight().match(*((weighted(a), weighted(b)) if weights else (a, b)))


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("settings", LEAVING)
def test_documents_add_up(maps_of, settings, weights):
    match = matched(maps_of, settings, weights=weights)
    document = json.loads(json.dumps(PairExplanation(match).to_dict(), allow_nan=False))
    pairs = sum(entry["contribution"] for entry in document["matches"]) + document["unmatched_contribution"]
    assert pairs + document["residual"] == pytest.approx(document["similarity"], abs=1e-12)
    assert abs(document["residual"]) < 1e-9
    groups = sum(entry["contribution"] for entry in document["regions"])
    assert groups + document["residual"] == pytest.approx(document["similarity"], abs=1e-9)
    kinds = {entry["kind"] for entry in document["regions"]}
    assert {"unmatched", "remainder"} <= kinds
    assert ("background" in kinds) == weights
    for side, share in zip("ab", document["unmatched"], strict=True):
        assert len(document[f"unmatched_{side}"]) == 16
        assert sum(document[f"unmatched_{side}"]) == pytest.approx(share)
    # The formula that the documentation gives.
    price = document["weight"] * settings.get("bin_similarity", 0.0) / 2 * sum(document["unmatched"])
    assert document["unmatched_contribution"] == pytest.approx(price, abs=1e-6)


def test_only_transports_that_leave_something_are_documented_so(match, maps_of):
    assert "unmatched" not in PairExplanation(match).to_dict()
    hurried = Matcher(max_iterations=1, tolerance=1e-9, eps=0.01).match(maps_of(1), maps_of(2))
    assert not bool(hurried.converged[0])
    said = PairExplanation(hurried)
    assert "unmatched" not in said.to_dict()
    assert "image found no counterpart" not in said.describe()


def test_conditions_state_the_transport():
    assert Conditions.of("m", "uniform", Matcher()).unusual() == {}
    assert Conditions.of("m", "uniform", Matcher(transport="one-sided")).unusual() == {"transport": "one-sided"}
    assert Conditions.of("m", "uniform", Matcher(**DUSTBIN)).unusual() == DUSTBIN


def numbers(text):
    return [float(each.replace("\N{MINUS SIGN}", "-")) for each in re.findall(r"[\N{MINUS SIGN}+]?\d+\.\d+", text)]


def test_words_of_a_dustbin(maps_of):
    match = matched(maps_of, DUSTBIN, weights=True)
    said = PairExplanation(match)
    text, (left_a, left_b) = said.describe(), said.regions().unmatched
    a, b = percent(left_a, 1.0), percent(left_b, 1.0)
    assert f"{a} of the first image and {b} of the second found no counterpart." in text
    composition = next(line for line in text.splitlines() if line.startswith("It adds half"))
    _, structural, from_matched, from_unmatched, price = numbers(composition)
    assert price == 0.3
    assert from_matched + from_unmatched == pytest.approx(structural, abs=1.1e-3)
    assert from_matched == pytest.approx(float((match.plan * match.local_similarity).sum()), abs=5.1e-4)
    lines = text.split("\n\n")[1].splitlines()
    told = [pair for pair in said.regions() if abs(pair.contribution) >= 5e-4]
    assert len(lines) == len(told)
    values = [float(re.search(r"\(([^(]\d\.\d+)\)", line)[1].replace("\N{MINUS SIGN}", "-")) for line in lines]
    assert sum(values) == pytest.approx(said.similarity, abs=6e-4 * len(lines))
    assert any(line.startswith("The background, parts of little weight, ") for line in lines)
    assert any(line.startswith("What found no counterpart ") for line in lines)
    assert "weaker pairs and what found no counterpart make up the rest." in said.describe(parts=3)


@pytest.mark.parametrize("settings", LEAVING)
def test_heats_contrasts_and_agreements_add_up(maps_of, settings):
    one, other = (matched(maps_of, settings, seed, weights=True) for seed in (2, 3))
    for each in heat(one):
        assert float(each.sum()) == pytest.approx(float(one.similarity - one.residual), abs=1e-9)
    contrast = Contrast(one, other)
    assert sum(part.difference for part in contrast.parts()) == pytest.approx(contrast.difference, abs=1e-9)
    document = contrast.to_dict()
    inside = {tuple(cell) for region in document["regions"] for cell in region["cells"]}
    outside = sum(part["difference"] for part in document["parts"] if tuple(part["cell"]) not in inside)
    regions = sum(region["difference"] for region in document["regions"])
    assert regions + outside == pytest.approx(contrast.difference, abs=1e-9)
    agreement = Agreement(PartSums.of([one, other]))
    assert sum(part.contribution for part in agreement.parts()) == pytest.approx(agreement.similarity, abs=1e-9)
    assert abs(agreement.residual) < 1e-9


def test_pictures_hatch_what_is_unmatched(maps_of, match):
    drawn = matched(maps_of, {"transport": "dustbin", "bin_similarity": 0.4})
    (left,) = [pair for pair in drawn.regions() if pair.kind == "unmatched"]
    for each, expected in ((drawn, bool(left.a_cells) + bool(left.b_cells)), (match, 0)):
        figure = pair_figure(PairExplanation(each))
        hatched = [patch for axes in figure.axes for patch in axes.patches if patch.get_gid() == "unmatched"]
        assert len(hatched) == expected
        assert ("no counterpart" in [text.get_text() for text in figure.texts]) == bool(expected)
