"""Another method's answer: the numbers are the method's own, boxes lie in the originals, words and picture agree."""

import json
from itertools import combinations

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diml import StructuralModel
from diml.embedding import Preprocessing
from diml.errors import UsageError
from diml.explanation import (
    describe_method,
    describe_rival,
    describe_rival_parts,
    draw_rival,
    explain_by,
    rival_document,
)
from diml.explanation.methods import METHODS, MethodResult, methods
from diml.explanation.methods.pixels import in_input_size
from diml.explanation.rival_words import IN_WORDS
from diml.explanation.words import number
from diml.faithfulness.pairs import Pair, Picture, see


@pytest.fixture(scope="module")
def model():
    """Cuts off the borders of what it sees."""
    torch.manual_seed(0)
    return StructuralModel.wrap(
        torch.nn.Conv2d(3, 8, 8, 8), Preprocessing(size=(32, 32), fit="crop", crop=0.8), grid=(4, 4), name="small"
    )


@pytest.fixture(scope="module")
def images():
    """Noise in large blocks, so that no two cells are alike."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 256, (2, 12, 12, 3), generator=generator, dtype=torch.uint8).numpy()
    return Image.fromarray(noise[0]).resize((120, 80)), Image.fromarray(noise[1]).resize((60, 90))


@pytest.fixture
def answer(model, images):
    def by(name):
        return explain_by(methods([name])[0], model, *images)

    return by


def test_every_method_is_put_in_words():
    assert set(IN_WORDS) == set(METHODS)
    for name in METHODS:
        does, lacks = describe_method(name)
        assert does.startswith(f"Method {name}: ")
        assert (does[-1], lacks[-1], lacks[0]) == (".", ".", "I")


@pytest.mark.parametrize("name", [name for name in METHODS if name != "emd"])
def test_an_answer_is_what_faithfulness_measures(answer, model, images, name):
    pair = Pair(*(Picture(str(i), lambda each=each: each) for i, each in enumerate(images)), group="")
    ((seen,), failed) = see(model, [pair])
    assert not failed
    (method,) = methods([name])
    expected = method.explain(in_input_size(model), seen.image_a, seen.image_b, seen.maps_a, seen.maps_b)
    found = answer(name).found
    # Images go through the model one by one here, and together there.
    for one, other in ((getattr(found, key), getattr(expected, key)) for key in ("heat_a", "heat_b", "correspondence")):
        assert (one is None) == (other is None)
        if one is not None and name != "random":
            torch.testing.assert_close(one.double(), other.double(), atol=1e-5, rtol=1e-4)
    assert found.accounts_for == expected.accounts_for
    assert (found.heat_a is not None) == method.heats


def test_cells_lie_in_the_originals(answer, model, images):
    said = answer("sbsm")
    maps = model.encode(images[0])
    boxes = maps.boxes(0).tolist()
    # The crop keeps 64 x 64 pixels in the middle of 120 x 80.
    assert boxes[0] == pytest.approx([28, 8, 44, 24], abs=1)
    cells = said.cells_a()
    assert [each.value for each in cells] == sorted((each.value for each in cells), reverse=True)
    for each in cells:
        row, column = each.cell
        assert list(each.box) == boxes[row * 4 + column]
        assert each.value == said.found.heat_a[row, column].item()
    assert said.cells_a(3) == cells[:3]
    assert (said.cells_b(), said.pairs()) == ([], [])


def test_pairs_are_the_strongest_of_the_correspondence(answer, model, images):
    said = answer("bilinear")
    strengths = said.found.correspondence
    assert strengths is not None
    boxes_b = model.encode(images[1]).boxes(0).tolist()
    pairs = said.pairs()
    assert len(pairs) == int((strengths > 0).sum())
    assert [pair.strength for pair in pairs] == sorted(strengths[strengths > 0].tolist(), reverse=True)
    for pair in pairs[:5]:
        i, j = pair.a[0] * 4 + pair.a[1], pair.b[0] * 4 + pair.b[1]
        assert pair.strength == strengths[i, j].item()
        assert pair.share == pytest.approx((strengths[i, j] / strengths[i].sum()).item())
        assert list(pair.b_box) == boxes_b[j]


def test_of_equal_pairs_the_hotter_comes_first(answer):
    said = answer("nearest")
    assert [pair.a for pair in said.pairs()] == [each.cell for each in said.cells_a()]
    assert {pair.share for pair in said.pairs()} == {1.0}


def test_the_document_is_plain_and_whole(answer):
    said = answer("nearest")
    document = rival_document(said, "one.png", "two.png")
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["a"], document["b"], document["model"], document["method"]) == (
        *("one.png", "two.png", "small", "nearest"),
    )
    assert document["similarity"] == said.match.similarity.item()
    assert document["total"] - sum(map(sum, document["heat_a"])) == pytest.approx(document["residual"], abs=1e-12)
    assert torch.tensor(document["correspondence"], dtype=torch.float64).equal(said.found.correspondence)


def test_words_name_the_number_and_the_residual(answer):
    said = answer("bilinear")
    lines = describe_rival(said)
    assert lines[0].startswith(f"Similarity {number(said.similarity)}: ")
    assert f"the pooled similarity, {number(said.match.pooled.item())}, which is not the similarity above" in lines[1]
    assert lines[1].endswith("The residual, of A, is 0.000.")
    assert "above" not in describe_rival(answer("structural"))[1]
    missed = MethodResult(said.found.heat_a, None, None, said.found.total + 0.25, "half")
    changed = type(said)(said.method, missed, said.match)
    assert describe_rival(changed)[1].endswith("The residual, of A, is +0.250.")
    assert "those of B" not in describe_rival(changed)[1]


@pytest.mark.parametrize(("name", "why"), [("sbsm", "adds up to no number"), ("identity", "gives no heat")])
def test_words_say_where_nothing_is_accounted_for(answer, name, why):
    line = describe_rival(answer(name))[1]
    assert "accounts for nothing" in line
    assert why in line


def test_lists_hold_what_the_method_says(answer):
    assert [line for line in describe_rival_parts(answer("bilinear"), 2) if line.endswith(":")] == [
        "The 2 strongest cells of A:",
        "The 2 strongest cells of B:",
        "The 2 strongest pairs of parts:",
    ]
    assert describe_rival_parts(answer("sbsm"), 1)[0] == "The strongest cell of A:"
    assert len(describe_rival_parts(answer("sbsm"), 1)) == 2
    pairs = describe_rival_parts(answer("identity"), 3)
    assert len(pairs) == 4
    assert pairs[1].endswith("strength 0.062, share 1.000")


def test_a_heat_of_nothing_is_told(answer):
    said = answer("bilinear")
    nothing = MethodResult(torch.zeros(4, 4), None, torch.zeros(16, 16))
    lines = describe_rival_parts(type(said)(said.method, nothing, said.match))
    assert lines == ["The heat of A is 0 everywhere.", "", "No part corresponds to any."]


@pytest.mark.parametrize("name", ["bilinear", "sbsm", "structural-partial"])
def test_the_picture_shows_the_heat_where_there_is_one(answer, images, name):
    said = answer(name)
    figure = draw_rival(said, *images)
    a, b = figure.axes[:2]
    assert len(a.images) == 2
    assert torch.from_numpy(a.images[1].get_array().data).equal(said.found.heat_a.double())
    assert a.images[1].get_extent() == pytest.approx([28, 92, 72, 8], abs=1)
    assert len(b.images) == (1 if said.found.heat_b is None else 2)
    text = " ".join(each.get_text() for each in figure.texts)
    for sentence in describe_method(name):
        assert sentence in text
    FigureCanvasAgg(figure)
    boxes = [(each.get_text(), each.get_window_extent()) for each in figure.texts]
    for shown, box in boxes:
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.width, shown
        assert 0 <= box.y0 <= box.y1 <= figure.bbox.height, shown
    for (shown, box), (other, another) in combinations(boxes, 2):
        across = min(box.x1, another.x1) - max(box.x0, another.x0)
        down = min(box.y1, another.y1) - max(box.y0, another.y0)
        assert across <= 0 or down <= 3, (shown, other)


def test_what_cannot_be_explained_is_refused(answer, model, images):
    with pytest.raises(UsageError, match="identity gives no heat"):
        draw_rival(answer("identity"), *images)
    several = model.encode(list(images))
    with pytest.raises(UsageError, match="maps of 2 and 1 images"):
        explain_by(methods(["nearest"])[0], model, *images, (several, several[0]))
