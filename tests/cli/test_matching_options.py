"""--weight, --eps, --mass and --marginals mean the same in every command; a bad value gets one sentence."""

import json
from pathlib import Path

import pytest

SAMPLE = Path(__file__).parents[2] / "sample"
CAT = SAMPLE / "photos" / "chelsea.jpg"
BAD = {
    "--weight": ("1.5", "expected weight from 0 (pooled only) to 1 (structural only), got 1.5"),
    "--eps": ("0", "eps"),
    "--mass": ("nan", "mass"),
    "--transport": ("dustbin:x", "expected --transport full, one-sided, dustbin or dustbin:0.3, got 'dustbin:x'"),
    "--marginals": ("magic", "expected marginals to be one of uniform, cross_correlation, apc, sc, got 'magic'"),
}


@pytest.mark.parametrize("option", BAD)
def test_a_bad_value_is_refused_before_a_model_is_loaded(refused, shapes, shapes_index, option):
    value, said = BAD[option]
    for command in (("explain", CAT, CAT), ("evaluate", shapes), ("faithfulness", shapes)):
        refused(2, said, *command, "--model", "none", option, value)
    refused(2, said, "search", shapes_index, CAT, option, value)


@pytest.mark.slow
def test_evaluate_matches_with_the_settings_given(diml, shapes):
    def measured(*options):
        return json.loads(diml("evaluate", shapes, "--shortlist", "all", "--grid", 2, "--json", *options).out)

    default, pooled, soft = measured(), measured("--weight", 0), measured("--weight", 0.75, "--eps", 1, "--mass", 0.9)
    assert [default[name] for name in ("weight", "eps", "mass", "transport")] == [0.85, 0.05, 1.0, "one-sided"]
    assert [soft[name] for name in ("weight", "eps", "mass", "transport")] == [0.75, 1.0, 0.9, "full"]
    coarse = json.loads(diml("evaluate", shapes, "--shortlist", 0, "--grid", 2, "--json").out)
    assert {**pooled["results"][0], "shortlist": 0} == coarse["results"][0]


@pytest.mark.slow
def test_the_summary_names_settings_that_are_not_the_default(diml, shapes):
    plain = ("evaluate", shapes, "--shortlist", 0, "--grid", 1, "--weights", "uniform", "--transport", "full")
    assert "weight" not in diml(*plain, "--weight", 0.5).out
    assert "\nweight 0.5, eps 0.1\n" in diml(*plain, "--weight", 0.5, "--eps", 0.1).out
    said = diml("evaluate", shapes, "--shortlist", 0, "--grid", 1).out
    assert "\nweights of parts: norm*rarity, fitted on 8 of the 8 images of " in said
    assert "\nweight 0.85, eps 0.05\ntransport one-sided\n" in said
