"""Why this one rather than that one: the differences of the parts are the difference of the similarities."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from diml.errors import UsageError
from diml.explanation import Conditions, Contrast, NamedImage
from diml.explanation.contrast_words import contrast_words, lead_lines
from diml.explanation.drawing import contrast_figure
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, find_part


def said(contrast, shown=()):
    return " ".join(contrast_words(contrast, shown).sentences)


def draw(contrast, *images, parts=6):
    query, a, b = (NamedImage.of(image, name) for image, name in zip(images, "qab", strict=True))
    return contrast_figure(replace(contrast, query=query, a=a, b=b), parts)


@pytest.fixture
def contrast(maps_of):
    matcher, query = Matcher().tight(), maps_of(1)
    return Contrast(matcher.match(query, maps_of(2, size=(60, 90))), matcher.match(query, maps_of(3, size=(60, 90))))


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scheme", ["uniform", "cross_correlation"])
def test_differences_of_the_parts_sum_to_the_difference(maps_of, weight, scheme):
    matcher, query = Matcher(scheme, weight).tight(), maps_of(1, (2, 3))
    found = Contrast(matcher.match(query, maps_of(2)), matcher.match(query, maps_of(3, (3, 3))))
    assert sum(part.difference for part in found.parts()) == pytest.approx(found.difference, abs=1e-12)
    assert abs(found.residual) < 1e-12
    assert found.difference == pytest.approx(float(found.match_a.similarity - found.match_b.similarity), abs=1e-15)


def test_each_part_is_a_row_of_both_accounts(contrast):
    a, b = (match.contributions[0] for match in (contrast.match_a, contrast.match_b))
    for part in contrast.parts():
        i = part.cell[0] * 4 + part.cell[1]
        assert part.a == pytest.approx(sum(a[i].tolist()), abs=1e-14)
        assert part.b == pytest.approx(sum(b[i].tolist()), abs=1e-14)
        assert list(part.box) == contrast.match_a.maps_a.boxes(0)[i].tolist()
    differences = [part.difference for part in contrast.parts()]
    assert differences == sorted(differences, reverse=True)
    assert contrast.parts(3) == contrast.parts()[:3]


def test_exchanged_images_turn_the_signs(contrast):
    turned = Contrast(contrast.match_b, contrast.match_a)
    assert turned.difference == -contrast.difference
    assert {(part.cell, -part.difference) for part in turned.parts()} == {
        (part.cell, part.difference) for part in contrast.parts()
    }


def test_a_pooled_vector_of_its_own_leaves_a_residual(maps_of):
    query, a, b = (maps_of(seed, pooled=lambda x: x.amax(1)) for seed in (1, 2, 3))
    found = Contrast(Matcher().match(query, a), Matcher().match(query, b))
    assert found.residual == pytest.approx(float(found.match_a.residual - found.match_b.residual), abs=1e-12)
    assert abs(found.residual) > 1e-3
    assert "residual" in said(found)


def test_a_chosen_part_has_all_of_the_difference(maps_of):
    weights = torch.zeros(1, 16)
    weights[0, 5] = 1
    found = Contrast(*(find_part(maps_of(1), maps_of(seed), weights) for seed in (2, 3)))
    assert {part.cell for part in found.parts() if part.difference} == {(1, 1)}
    assert sum(part.difference for part in found.parts()) == pytest.approx(found.difference, abs=1e-12)


def test_of_a_part_query_only_its_cells_are_shown(maps_of, image_a, image_b):
    weights = torch.zeros(1, 16)
    weights[0, [5, 6]] = 1
    found = Contrast(*(find_part(maps_of(1), maps_of(seed), weights) for seed in (2, 3)))
    shown = found.parts(6)
    assert {part.cell for part in shown} == {(1, 1), (1, 2)}
    assert "the query's 2 chosen parts" in said(found, shown)
    figure = draw(found, image_a, image_a, image_b)
    assert sum(patch.get_gid() == "part" for axes in figure.axes for patch in axes.patches) == 2 * 2 * 2


def test_the_document_is_json_and_adds_up(contrast):
    named = replace(contrast, **{key: NamedImage(key[0], key) for key in ("query", "a", "b")})
    named = replace(named, conditions=Conditions("m", "uniform"))
    document = json.loads(json.dumps(named.to_dict()))
    keys = "query a b similarity_a similarity_b difference residual regions parts"
    assert list(document)[:9] == keys.split()
    assert [document[key] for key in ("query", "a", "b", "model", "marginals")] == ["q", "a", "b", "m", "uniform"]
    assert list(document["parts"][0]) == ["cell", "box", "a", "b", "difference"]
    total = sum(part["difference"] for part in document["parts"]) + document["residual"]
    assert total == pytest.approx(document["similarity_a"] - document["similarity_b"], abs=1e-12)
    assert len(document["parts"]) == 16


def test_words_say_who_leads(contrast):
    leader = "A" if contrast.difference > 0 else "B"
    assert f"{leader} leads by" in contrast_words(contrast).sentences[0]
    itself = Contrast(contrast.match_a, contrast.match_a)
    assert "neither leads" in contrast_words(itself).sentences[0]
    assert len(lead_lines(contrast.parts(4))) == 4
    assert "there are no others" in said(contrast, contrast.parts())


def test_different_queries_are_refused(maps_of):
    matcher = Matcher()
    with pytest.raises(UsageError, match="different queries"):
        Contrast(matcher.match(maps_of(1), maps_of(3)), matcher.match(maps_of(2), maps_of(3)))
    two = FeatureMaps.cat([maps_of(1), maps_of(2)])
    with pytest.raises(UsageError, match="2 pairs"):
        Contrast(matcher.match(two, two), matcher.match(two, two))


@pytest.mark.slow
def test_the_picture_shows_the_leading_parts(contrast, image_a, image_b, tmp_path):
    figure = draw(contrast, image_a, image_b, image_b, parts=4)
    boxes = [[patch for patch in axes.patches if patch.get_gid() == "part"] for axes in figure.axes[:3]]
    # The query, in the middle, is boxed for its line to a and for that to b.
    assert [len(each) for each in boxes] == [4, 8, 4]
    for lead, patch in zip(contrast.parts(4), boxes[1][3::-1], strict=True):
        x0, y0, x1, y1 = lead.box
        assert x0 < patch.get_x() < x1
        assert y0 < patch.get_y() < y1
    heats = [np.asarray(axes.images[1].get_array()) for axes in figure.axes if len(axes.images) == 2]
    assert heats[1] == pytest.approx(heats[0] - heats[2], abs=1e-12)
    contrast.draw(tmp_path / "x.svg", parts=4)
    with pytest.raises(UsageError, match="expected parts >= 1"):
        draw(contrast, image_a, image_b, image_b, parts=0)


def test_no_more_parts_are_drawn_than_listed(maps_of, image_a, image_b):
    query, a, b = maps_of(1, (6, 6)), maps_of(2, (6, 6)), maps_of(3, (6, 6))
    found = Contrast(Matcher().match(query, a), Matcher().match(query, b))
    figure = draw(found, image_a, image_b, image_b, parts=99)
    assert len([patch for patch in figure.axes[0].patches if patch.get_gid() == "part"]) == 16
    assert "The 16 parts that favour A most add" in " ".join(text.get_text() for text in figure.texts)
