"""A scheme that is entered in MARGINALS is known by its name wherever marginals are named."""

import json
from pathlib import Path

import pytest
import torch

from diml.feature_maps import FeatureMaps
from diml.learning.run.settings import LossSettings
from diml.matching import MARGINALS, Matcher, rerank, similarity, top_k
from diml.model import StructuralModel
from diml.search import Index

SAMPLE = Path(__file__).parents[2] / "sample"
CAT = SAMPLE / "photos" / "chelsea.jpg"
VIEW = SAMPLE / "photos" / "chelsea-mirrored-cropped-brighter.jpg"


def sharp(correlation):
    """Weights that no backend has compiled in."""
    return (4 * correlation).softmax(dim=-1)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(MARGINALS, "sharp", sharp)


def maps(seed, n):
    return FeatureMaps(torch.randn(n, 4, 8, generator=torch.Generator().manual_seed(seed)), (2, 2))


def test_matching():
    a, b, shortlist = maps(0, 3), maps(1, 5), torch.tensor([[0, 4]] * 3)
    named, given = Matcher("sharp"), Matcher(sharp)
    expected = given.similarity(a, b)
    assert not torch.allclose(expected, Matcher().similarity(a, b), atol=1e-3)
    assert torch.equal(named.similarity(a, b), expected)
    assert torch.equal(similarity(a, b, marginals="sharp"), expected)
    assert torch.equal(rerank(a, b, shortlist, marginals="sharp"), given.rerank(a, b, shortlist))
    torch.testing.assert_close(named.match(a, b[:3]).similarity, expected.diagonal())
    found, best = top_k(named, a, b, 2), expected.sort(dim=1, descending=True)
    assert torch.equal(found.indices, best.indices[:, :2])
    assert torch.equal(found.similarity, best.values[:, :2])


def test_training_settings():
    assert LossSettings(marginals="sharp").marginals == "sharp"


@pytest.mark.slow
def test_an_index_is_searched_by_it(tmp_path):
    model = StructuralModel.from_pretrained("lite0").with_matcher(marginals="sharp")
    index = Index.create(tmp_path / "photos.diml", model, dim=0)
    index.add([CAT, VIEW])
    model = index.model  # its weights are fitted on the two images
    for shortlist in (100, "all"):
        hits = Index.open(tmp_path / "photos.diml").search(VIEW, 2, shortlist).hits
        assert [hit.path for hit in hits] == [VIEW.name, CAT.name]
        # Stored maps are float16.
        assert [hit.similarity for hit in hits] == pytest.approx(
            [model.similarity(VIEW, image) for image in (VIEW, CAT)], abs=1e-4
        )


def test_the_command_line_takes_it(diml):
    done = diml("explain", CAT, VIEW, "--marginals", "sharp", "--json")
    found = json.loads(done.out)
    assert (done.code, found["marginals"]) == (0, "sharp")
    model = StructuralModel.from_pretrained("lite0").with_matcher(marginals=sharp)
    assert found["similarity"] == model.similarity(CAT, VIEW)


def test_the_command_line_names_what_there_is(diml):
    done = diml("explain", CAT, VIEW, "--marginals", "even")
    assert done.code == 2
    assert "expected marginals to be one of uniform, cross_correlation, sharp, apc, sc, got 'even'" in done.err
