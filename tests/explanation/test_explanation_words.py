"""The words say what the numbers say."""

from dataclasses import replace

import pytest
import torch

from diml.explanation.pair_words import pair_lines, pair_words
from diml.explanation.words import number, percent
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, find_part


def said(match, shown=()):
    return " ".join(pair_words(match, shown).lines())


def test_the_score_and_its_composition(match):
    text = said(match)
    assert f"Similarity {number(float(match.similarity[0]))}" in text
    pooled, structural = number(float(match.pooled[0])), number(float(match.structural[0]))
    assert f"It adds half of how similar the images are as a whole (pooled similarity {pooled})" in text
    assert f"and half of how similar their matched parts are (structural similarity {structural})." in text
    assert "shown" not in text
    assert "converged" not in text
    assert "residual" not in text


def test_another_weight_is_named(unequal):
    text = said(unequal)
    assert "70 % of how similar the images are as a whole" in text
    assert "30 % of how similar their matched parts are" in text


def test_what_the_shown_pairs_account_for(match):
    shown = match.parts(6)
    carried = sum(pair.contribution for pair in shown)
    text = said(match, shown)
    assert f"The 6 pairs of parts shown account for {number(carried)} of it" in text
    assert f"({percent(carried, float(match.similarity[0]))}); 250 weaker pairs make up the rest." in text
    assert "The pair of parts shown accounts for" in said(match, match.parts(1))
    assert "there are no others" in said(match, match.parts())


def test_negative_contributions_are_shown_with_their_sign(match):
    against = float(match.contributions.clamp(max=0).sum())
    assert f"count against it: {number(against)} in total" in said(match)
    assert "\N{MINUS SIGN}" in pair_lines(match.parts())[-1]


def test_residual_and_missing_convergence_are_not_hidden(with_residual):
    assert "belongs to no pair of parts" in said(with_residual)
    hurried = Matcher(max_iterations=1, tolerance=1e-9).match(with_residual.maps_a, with_residual.maps_b)
    assert "stopped before it had converged" in said(hurried)


def test_an_image_with_itself_is_explained(match):
    own = Matcher().match(match.maps_a, match.maps_a)
    assert "Even an image compared with itself scores slightly below 1" in said(own)
    assert "itself" not in said(match)
    assert "itself" not in said(replace(own, weight=0.0))  # the pooled similarity is 1


@pytest.mark.parametrize(("noise", "explained"), [(0.1, True), (0.3, False)])
def test_only_what_is_nearly_the_same_is_explained_so(match, noise, explained):
    generator = torch.Generator().manual_seed(0)
    local = match.maps_a.local
    other = FeatureMaps(local + noise * torch.randn(local.shape, generator=generator, dtype=local.dtype), (4, 4))
    near = Matcher(eps=0.02).match(FeatureMaps(local, (4, 4)), other)
    assert 0.9 < float(near.similarity[0]) < 0.9995
    assert ("itself" in said(near)) == explained


@pytest.mark.parametrize(
    ("cells", "counted"),
    [
        ([3], "Only the chosen part of the first image counts, matched with whatever"),
        ([3, 4], "Only the 2 chosen parts of the first image count, each matched with whatever"),
    ],
)
def test_chosen_parts_are_counted(match, cells, counted):
    weights = torch.zeros(1, 16)
    weights[0, cells] = 1
    assert counted in said(find_part(match.maps_a, match.maps_b, weights))


def test_an_opposed_image_has_no_shares(match):
    opposite = FeatureMaps(-match.maps_a.local, match.maps_a.grid)
    opposed = replace(Matcher().match(match.maps_a, opposite), weight=0.0)
    text = said(opposed, opposed.parts(3))
    assert "Similarity \N{MINUS SIGN}1.000" in text
    assert "(%" not in text


def test_pairs_name_boxes_or_cells(match, nowhere):
    assert "0,0-30,20" in "\n".join(pair_lines(match.parts()))
    assert "row 0 column 0" in "\n".join(pair_lines(nowhere.parts()))
