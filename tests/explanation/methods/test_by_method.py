"""Explanations by other methods: the method's own numbers, boxes in the originals, words and picture that agree."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diml import StructuralModel
from diml.embedding import Preprocessing
from diml.errors import ImageError, UsageError
from diml.explanation import NamedImage, explain_by_method
from diml.explanation.drawing import method_figure
from diml.explanation.method_words import method_lines, method_words
from diml.explanation.methods import METHODS, MethodResult, methods
from diml.explanation.methods.method import method_sentences
from diml.explanation.words import number
from diml.faithfulness import ImagePair, LazyImage
from diml.faithfulness.embedded_pairs import embed_pairs


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
def explained(model, images):
    return lambda name: explain_by_method(name, model, *images)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in METHODS if name != "emd"])
def test_an_explanation_is_what_faithfulness_measures(explained, model, images, name):
    pair = ImagePair(*(LazyImage(str(i), lambda each=each: each) for i, each in enumerate(images)), group="")
    ((seen,), failed) = embed_pairs(model, [pair])
    assert not failed
    (method,) = methods([name])
    expected = method.explain(seen.given)
    found = explained(name).result
    # Images go through the model one by one here, and together there.
    for one, other in ((getattr(found, key), getattr(expected, key)) for key in ("heat_a", "heat_b", "correspondence")):
        assert (one is None) == (other is None)
        if one is not None and name != "random":
            torch.testing.assert_close(one.double(), other.double(), atol=1e-5, rtol=1e-4)
    assert found.accounts_for == expected.accounts_for
    assert (found.heat_a is not None) == method.heats


def test_cells_lie_in_the_originals(explained, model, images):
    said = explained("sbsm")
    maps = model.encode(images[0])
    boxes = maps.boxes(0).tolist()
    # The crop keeps 64 x 64 pixels in the middle of 120 x 80.
    assert boxes[0] == pytest.approx([28, 8, 44, 24], abs=1)
    cells = said.cells_a()
    assert [each.heat for each in cells] == sorted((each.heat for each in cells), reverse=True)
    for each in cells:
        row, column = each.cell
        assert list(each.box) == boxes[row * 4 + column]
        assert each.heat == said.result.heat_a[row, column].item()
    assert said.cells_a(3) == cells[:3]
    assert (said.cells_b(), said.pairs()) == ([], [])


def test_pairs_are_the_strongest_of_the_correspondence(explained, model, images):
    said = explained("bilinear")
    strengths = said.result.correspondence
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


def test_of_equal_pairs_the_hotter_comes_first(explained):
    said = explained("nearest")
    assert [pair.a for pair in said.pairs()] == [each.cell for each in said.cells_a()]
    assert {pair.share for pair in said.pairs()} == {1.0}


def test_the_document_is_plain_and_whole(explained):
    said = explained("nearest")
    document = replace(said, a=NamedImage.of("one.png", ""), b=NamedImage.of("two.png", "")).to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["a"], document["b"], document["model"], document["method"]) == (
        *("one.png", "two.png", "small", "nearest"),
    )
    assert document["similarity"] == said.match.similarity.item()
    assert document["total"] - sum(map(sum, document["heat_a"])) == pytest.approx(document["residual"], abs=1e-12)
    assert torch.tensor(document["correspondence"], dtype=torch.float64).equal(said.result.correspondence)


def test_words_name_the_number_and_the_residual(explained):
    said = explained("bilinear")
    lines = method_words(said).lines()
    assert lines[0].startswith(f"Similarity {number(said.similarity)}: ")
    assert f"the pooled similarity, {number(said.match.pooled.item())}, which is not the similarity above" in lines[1]
    assert lines[1].endswith("The residual for A is 0.000.")
    assert "above" not in method_words(explained("structural")).lines()[1]
    missed = MethodResult(said.result.heat_a, None, None, said.result.total + 0.25, "half")
    changed = type(said)(said.method, missed, said.match)
    assert method_words(changed).lines()[1].endswith("The residual for A is +0.250.")
    assert "those of B" not in method_words(changed).lines()[1]


@pytest.mark.parametrize(("name", "why"), [("sbsm", "has no defined sum"), ("identity", "gives no heat")])
def test_words_say_where_nothing_is_accounted_for(explained, name, why):
    line = method_words(explained(name)).lines()[1]
    assert "accounts for nothing" in line
    assert why in line


def test_lists_hold_what_the_method_says(explained):
    assert [line for line in method_lines(explained("bilinear"), 2) if line.endswith(":")] == [
        "The 2 strongest cells of A:",
        "The 2 strongest cells of B:",
        "The 2 strongest pairs of parts:",
    ]
    assert method_lines(explained("sbsm"), 1)[0] == "The strongest cell of A:"
    assert len(method_lines(explained("sbsm"), 1)) == 2
    pairs = method_lines(explained("identity"), 3)
    assert len(pairs) == 4
    assert pairs[1].endswith("strength 0.062, share 1.000")


def test_a_heat_of_zeros_is_stated(explained):
    said = explained("bilinear")
    nothing = MethodResult(torch.zeros(4, 4), None, torch.zeros(16, 16))
    lines = method_lines(type(said)(said.method, nothing, said.match), 6)
    assert lines == ["The heat of A is 0 everywhere.", "", "No parts correspond."]


@pytest.mark.parametrize("name", ["bilinear", "sbsm", "structural-partial"])
def test_the_picture_shows_the_heat_where_there_is_one(explained, images, name):
    said = explained(name)
    figure = method_figure(said)
    a, b = figure.axes[:2]
    assert len(a.images) == 2
    assert torch.from_numpy(a.images[1].get_array().data).equal(said.result.heat_a.double())
    assert a.images[1].get_extent() == pytest.approx([28, 92, 72, 8], abs=1)
    assert len(b.images) == (1 if said.result.heat_b is None else 2)
    text = " ".join(each.get_text() for each in figure.texts)
    for sentence in method_sentences(said.method):
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


def test_what_cannot_be_explained_is_refused(explained, model, images):
    with pytest.raises(UsageError, match="identity, which gives no heat"):
        method_figure(explained("identity"))
    with pytest.raises(UsageError, match="identity, which gives no heat"):
        explained("identity").draw("x.png")
    with pytest.raises(ImageError, match="got list"):
        explain_by_method("nearest", model, list(images), images[0])
    with pytest.raises(ImageError, match="got FeatureMaps"):
        explain_by_method("nearest", model, model.encode(images[0]), images[1])
    with pytest.raises(UsageError, match="got 'magic'"):
        explain_by_method("magic", model, *images)


def test_the_three_verbs(explained, tmp_path):
    said = explained("bilinear")
    said.draw(tmp_path / "why.svg")
    assert "Method bilinear" in (tmp_path / "why.svg").read_text()
    lines = said.describe(2).splitlines()
    assert lines[:2] == list(method_sentences(said.method))
    assert lines[2:4] == method_words(said).lines()
    assert lines[5:] == method_lines(said, 2)
    with pytest.raises(UsageError, match="expected parts >= 1, got 0"):
        said.describe(0)


def test_arrays_and_tensors_are_explained_like_images(model, images):
    pixels = np.asarray(images[0])
    tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)
    image, array, whole, share = (
        explain_by_method("sbsm", model, each, images[1]).result.heat_a
        for each in (images[0], pixels, tensor, tensor / 255)
    )
    assert torch.equal(image, array)
    torch.testing.assert_close(whole, share, atol=1e-3, rtol=0)
    assert whole.abs().max() > 0.01
