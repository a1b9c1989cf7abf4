"""Where many images agree: means and deviations against a plain loop, whatever the batches they come in."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diml.errors import UsageError
from diml.explanation import Agreement, Conditions, NamedImage, PartSums
from diml.explanation.agreement_words import agreement_words, shared_lines
from diml.explanation.drawing import agreement_figure
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, find_part

OTHERS = 5


def agreed(matches):
    return Agreement(PartSums.of(matches))


def draw(found, image, others, parts=6, against=""):
    named = [NamedImage.of(other, "an image") for other in others]
    return agreement_figure(
        replace(found, image=NamedImage.of(image, "the image"), others=named, against=against), parts
    )


@pytest.fixture
def matches(maps_of):
    """One image with five others, match by match."""
    matcher = Matcher().tight()
    return [matcher.match(maps_of(1), maps_of(seed, size=(60, 90))) for seed in range(2, 2 + OTHERS)]


@pytest.fixture
def found(matches):
    return agreed(matches)


def test_means_and_deviations_are_those_of_a_loop(found, matches):
    rows = np.array([match.contributions[0].sum(1).tolist() for match in matches])
    for part in found.parts():
        i = part.cell[0] * 4 + part.cell[1]
        assert part.contribution == pytest.approx(rows[:, i].mean(), abs=1e-14)
        assert part.deviation == pytest.approx(rows[:, i].std(), abs=1e-14)
    assert float(found.heat.sum()) == pytest.approx(np.mean([float(m.similarity) for m in matches]), abs=1e-12)
    assert abs(found.residual) < 1e-12


def test_batches_change_nothing(found, maps_of):
    others = FeatureMaps.cat([maps_of(seed, size=(60, 90)) for seed in range(2, 2 + OTHERS)])
    matcher, one = Matcher().tight(), maps_of(1)
    at_once = agreed(matcher.match(one[[0] * OTHERS], others))
    halves = agreed(matcher.match(one[[0] * len(some)], some) for some in (others[:2], others[2:]))
    for other in (at_once, halves):
        torch.testing.assert_close(other.sums.contributions, found.sums.contributions, atol=1e-12, rtol=0)
        torch.testing.assert_close(other.sums.similarities, found.sums.similarities, atol=1e-12, rtol=0)
        assert other.sums.counterparts.tolist() == found.sums.counterparts.tolist()
        assert other.sums.boxes == found.sums.boxes


def test_counterparts_are_the_strongest_pairs(found, matches):
    for k, match in enumerate(matches):
        for part in found.parts(3):
            strongest = next(pair for pair in match.parts() if pair.a == part.cell)
            assert found.counterpart_box(k, part.cell, (60, 90)) == strongest.b_box


def test_copies_of_one_image_agree_wholly(maps_of):
    match = Matcher().tight().match(maps_of(1), maps_of(2))
    same = agreed([match] * 3)
    assert {part.deviation for part in same.parts()} == {0.0}


def test_the_document_is_json_and_adds_up(found):
    names = [f"{k}.png" for k in range(OTHERS)]
    others = [NamedImage(name, name) for name in names]
    named = Agreement(found.sums, NamedImage("a", "a"), others, "folder", Conditions("m", "uniform"))
    document = json.loads(json.dumps(named.to_dict()))
    keys = "image against images similarity residual regions parts each"
    assert list(document)[:8] == keys.split()
    assert list(document["parts"][0]) == ["cell", "box", "contribution", "deviation"]
    total = sum(part["contribution"] for part in document["parts"]) + document["residual"]
    assert total == pytest.approx(document["similarity"], abs=1e-12)
    values = [each["similarity"] for each in document["each"]]
    assert values == sorted(values, reverse=True)
    assert {each["path"] for each in document["each"]} == set(names)
    assert np.mean(values) == pytest.approx(document["similarity"])


def test_no_match_and_different_images_are_refused(maps_of, matches):
    with pytest.raises(UsageError, match="got none"):
        agreed([])
    with pytest.raises(UsageError, match="different images"):
        agreed([matches[0], Matcher().match(maps_of(9), maps_of(2))])


def test_of_a_part_query_only_its_cells_are_shown(maps_of):
    weights = torch.zeros(1, 16)
    weights[0, [0, 1]] = 1
    found = agreed(find_part(maps_of(1), maps_of(seed), weights) for seed in (2, 3))
    shown = found.parts(6)
    assert {part.cell for part in shown} == {(0, 0), (0, 1)}
    assert "there are no others" in " ".join(agreement_words(found, shown).sentences)
    assert len(found.to_dict()["parts"]) == 16


@pytest.mark.slow
def test_words_and_picture_say_it(found, image_a, image_b):
    assert agreement_words(found, found.parts(2)).sentences[0].startswith("5 other images, with similarities from")
    assert len(shared_lines(found.parts(2))) == 2
    figure = draw(found, image_a, [image_b] * OTHERS, parts=3, against="cats")
    boxes = [len([p for p in axes.patches if p.get_gid() == "part"]) for axes in figure.axes]
    assert boxes[0] == 3
    assert boxes.count(3) == 1 + OTHERS
    [heat] = [np.asarray(axes.images[1].get_array()) for axes in figure.axes if len(axes.images) == 2]
    assert heat == pytest.approx(found.heat.numpy())
    with pytest.raises(UsageError, match="one for each"):
        draw(found, image_a, [image_b])
    with pytest.raises(UsageError, match="expected parts >= 1"):
        draw(found, image_a, [image_b] * OTHERS, parts=0)


def test_one_other_without_geometry(nowhere, image_a, image_b):
    figure = draw(agreed(nowhere), image_a, [image_b], parts=20)
    assert any("The other image" in text.get_text() for text in figure.texts)
