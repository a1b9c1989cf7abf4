"""The words say what the numbers say."""

from dataclasses import replace

import pytest
import torch

from diml.explanation import describe, describe_pairs
from diml.explanation.words import number, percent
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher


def test_the_score_and_its_make_up(match):
    text = " ".join(describe(match))
    assert f"Similarity {number(float(match.similarity[0]))}" in text
    assert f"half from the images as a whole (pooled similarity {number(float(match.pooled[0]))})" in text
    assert f"half from their matched parts (structural similarity {number(float(match.structural[0]))})" in text
    assert "shown" not in text
    assert "converged" not in text
    assert "residual" not in text


def test_another_weight_is_named(unequal):
    text = " ".join(describe(unequal))
    assert "70 % from the images as a whole" in text
    assert "30 % from their matched parts" in text


def test_what_the_shown_pairs_carry(match):
    shown = match.parts(6)
    carried = sum(pair.contribution for pair in shown)
    text = " ".join(describe(match, shown))
    assert f"The 6 pairs of parts shown carry {number(carried)} of it" in text
    assert f"({percent(carried, float(match.similarity[0]))}); 250 weaker pairs make up the rest." in text
    assert "The pair of parts shown carries" in " ".join(describe(match, match.parts(1)))
    assert "there are no others" in " ".join(describe(match, match.parts()))


def test_negative_contributions_are_shown_with_their_sign(match):
    against = float(match.contributions.clamp(max=0).sum())
    assert f"count against it: {number(against)} in all" in " ".join(describe(match))
    assert "\N{MINUS SIGN}" in describe_pairs(match.parts())[-1]


def test_residual_and_missing_convergence_are_not_hidden(with_residual):
    assert "belongs to no pair of parts" in " ".join(describe(with_residual))
    hurried = Matcher(max_iterations=1, tolerance=1e-9).match(with_residual.maps_a, with_residual.maps_b)
    assert "stopped before it had converged" in " ".join(describe(hurried))


def test_an_image_with_itself_is_explained(match):
    own = Matcher().match(match.maps_a, match.maps_a)
    assert "An image with itself comes to slightly less than 1" in " ".join(describe(own))
    assert "itself" not in " ".join(describe(match))
    assert "itself" not in " ".join(describe(replace(own, weight=0.0)))  # the pooled similarity is 1


@pytest.mark.parametrize(("noise", "said"), [(0.1, True), (0.3, False)])
def test_only_what_is_nearly_the_same_is_explained_so(match, noise, said):
    generator = torch.Generator().manual_seed(0)
    local = match.maps_a.local
    other = FeatureMaps(local + noise * torch.randn(local.shape, generator=generator, dtype=local.dtype), (4, 4))
    near = Matcher(eps=0.02).match(FeatureMaps(local, (4, 4)), other)
    assert 0.9 < float(near.similarity[0]) < 0.9995
    assert ("itself" in " ".join(describe(near))) == said


def test_chosen_parts_are_counted(match):
    assert "the 1 chosen part of the first image alone, matched with whatever" in " ".join(describe(match, chosen=[3]))
    assert "the 2 chosen parts of the first image alone, each matched" in " ".join(describe(match, chosen=[3, 4]))


def test_an_opposed_image_has_no_shares(match):
    opposite = FeatureMaps(-match.maps_a.local, match.maps_a.grid)
    opposed = replace(Matcher().match(match.maps_a, opposite), weight=0.0)
    text = " ".join(describe(opposed, opposed.parts(3)))
    assert "Similarity \N{MINUS SIGN}1.000" in text
    assert "(%" not in text


def test_pairs_name_boxes_or_cells(match, nowhere):
    assert "0,0-30,20" in "\n".join(describe_pairs(match.parts()))
    assert "row 0 column 0" in "\n".join(describe_pairs(nowhere.parts()))
