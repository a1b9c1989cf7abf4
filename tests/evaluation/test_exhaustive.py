"""Every pair matched, streaming: the order of sorting the whole matrix."""

import pytest
import torch

from diml.errors import UsageError
from diml.evaluation import evaluate_maps, exhaustive, rank
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, cross_correlation, prepare


def maps(seed, n, dim=12):
    g = torch.Generator().manual_seed(seed)
    return FeatureMaps(torch.randn(n, 1, dim, generator=g) + torch.randn(n, 4, dim, generator=g), (2, 2))


def orders(query, gallery, places, matcher, shortlists=("all",), **options):
    blocks = rank(query, gallery, matcher=matcher, shortlists=shortlists, places=places, block=7, **options)
    return torch.cat([ranked.orders["all"] for ranked in blocks])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    original = Matcher.tiles
    monkeypatch.setattr(Matcher, "tiles", lambda self, a, b: original(self, a, b, side=9))


@pytest.mark.parametrize("places", [1, 3, 8, 100])
@pytest.mark.parametrize("marginals", ["uniform", "cross_correlation", cross_correlation])
def test_among_themselves(places, marginals):
    images = maps(0, 30)
    images.local[11] = images.local[4]  # ties
    matcher = Matcher(marginals)
    matrix = matcher.similarity(images, images).fill_diagonal_(-torch.inf)
    expected = matrix.sort(dim=1, descending=True, stable=True).indices[:, : min(places, 29)]
    assert torch.equal(orders(images, None, places, matcher), expected)


@pytest.mark.parametrize("places", [2, 20])
def test_weights_given_image_by_image_follow_the_blocks(places, monkeypatch):
    monkeypatch.setattr(exhaustive, "BLOCK", 8)
    queries, gallery, weights = maps(3, 20), maps(4, 50), torch.rand(70, 4) + 0.1
    matcher = Matcher((weights[:20], weights[20:]))
    expected = matcher.similarity(queries, gallery).sort(dim=1, descending=True, stable=True).indices[:, :places]
    found = exhaustive.best_of_all(matcher, prepare(queries), prepare(gallery), places)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("places", [1, 5, 100])
@pytest.mark.parametrize("sparse", [1, 1000])
def test_in_a_gallery(places, sparse, monkeypatch):
    monkeypatch.setattr(exhaustive, "SPARSE", sparse)
    monkeypatch.setattr(exhaustive, "BLOCK", 5)
    queries, gallery = maps(1, 13), maps(2, 41)
    matrix = Matcher().similarity(queries, gallery)
    expected = matrix.sort(dim=1, descending=True, stable=True).indices[:, : min(places, 41)]
    assert torch.equal(orders(queries, gallery, places, Matcher(), shortlists=(0, 10, "all")), expected)


def test_other_rerankers_are_given_every_candidate():
    class Backwards:
        def rerank(self, query_maps, gallery_maps, shortlist):
            return shortlist.float()

    queries, gallery = maps(3, 2), maps(4, 6)
    assert orders(queries, gallery, 6, Backwards()).tolist() == [[5, 4, 3, 2, 1, 0]] * 2
    given = Matcher((torch.ones(2, 4), torch.ones(6, 4)))
    whole = given.similarity(queries, gallery).argsort(dim=1, descending=True)
    assert torch.equal(orders(queries, gallery, 6, given), whole)


def test_progress_and_the_row():
    told = []
    images = maps(5, 20)
    result = evaluate_maps(
        images,
        [k // 2 for k in range(20)],
        matcher=Matcher(),
        shortlists=(0, "all"),
        progress=lambda what, done, of: told.append((what, done, of)),
    )
    assert [row["shortlist"] for row in result.results] == [0, "all"]
    assert ("matching", 20, 20) in told
    assert told[-1] == ("ranking", 20, 20)
    assert "|       all |" in result.table()


def test_words_that_are_no_shortlist():
    with pytest.raises(UsageError, match="expected a whole number or 'all' for shortlist, got 'some'"):
        list(rank(maps(6, 3), matcher=Matcher(), shortlists=["some"], places=1))


@pytest.mark.parametrize("transport", ["one-sided", "dustbin"])
@pytest.mark.parametrize("among_themselves", [True, False])
def test_other_transports(transport, among_themselves):
    """Against the whole matrix, queries first: a one-sided similarity depends on who asks."""
    random = torch.Generator().manual_seed(0)
    maps = FeatureMaps(torch.randn(30, 4, 6, generator=random), (2, 2), weights=torch.rand(30, 4, generator=random))
    matcher = Matcher(weight=1.0, transport=transport)
    similarity = matcher.similarity(maps, maps if among_themselves else FeatureMaps.cat([maps]))
    gallery = None
    if among_themselves:
        similarity.fill_diagonal_(-torch.inf)
    else:
        gallery = prepare(maps)
    found = exhaustive.best_of_all(matcher, prepare(maps), gallery, 5)
    torch.testing.assert_close(similarity.gather(1, found), similarity.topk(5).values, atol=2e-6, rtol=0)
