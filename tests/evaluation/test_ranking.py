"""Orders: ties, shortlists, blocks, against sorting everything."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.errors import UsageError
from diml.evaluation import best, rank, reorder
from diml.evaluation import ranking as ranking_module
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, cross_correlation, unit_maps
from diml.matching.kernels.scaled_maps import ScaledMaps


class Fake:
    """Scores that have nothing to do with the pooled similarity, with many ties."""

    def __init__(self):
        self.asked = []

    def rerank(self, query_maps, gallery_maps, shortlist):
        self.asked.append(shortlist.shape)
        return (query_maps.rows[:, 0, 0][:, None] - gallery_maps.rows[:, 0, 1][shortlist]).mul(3).round()


def maps(seed, n, grid=(2, 2), dim=5, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    return FeatureMaps(torch.randn(n, grid[0] * grid[1], dim, generator=g).to(dtype), grid)


def orders(query, gallery=None, *, matcher=None, shortlists=(0,), places=10**6, block=None):
    found = list(rank(query, gallery, matcher=matcher or Fake(), shortlists=shortlists, places=places, block=block))
    return {k: torch.cat([ranked.orders[k] for ranked in found]) for k in found[0].orders}


def naive_order(scores, index):
    """Of one query: candidates by score descending, then by index."""
    return sorted(index, key=lambda at: (-scores[at], at))


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(1, 8))
def test_best_breaks_ties_by_index_also_at_the_boundary(rows, places):
    scores = torch.tensor(rows, dtype=torch.float32)
    expected = [naive_order(row, range(6))[:places] for row in rows]
    assert best(scores, places).tolist() == expected


def test_zero_and_minus_zero_tie():
    assert best(torch.tensor([[-0.0, 0.0, -0.0, 0.0]]), 3).tolist() == [[0, 1, 2]]


def test_large_rows_with_ties_at_the_boundary():
    scores = torch.randint(40, (7, 5000), generator=torch.Generator().manual_seed(0)).float()
    whole = scores.sort(dim=1, descending=True, stable=True).indices
    for places in (1, 100, 1000, 4999, 5000):
        assert torch.equal(best(scores, places), whole[:, :places])


def test_reorder_leaves_the_rest_in_its_place():
    order = torch.tensor([[4, 2, 9, 0, 1]])
    assert reorder(order, torch.tensor([[0.5, 0.5, 0.7]])).tolist() == [[9, 2, 4, 0, 1]]
    assert torch.equal(reorder(order, torch.zeros(1, 0)), order)


def test_pooled_ranking_agrees_with_a_loop():
    query, gallery = maps(0, 9), maps(1, 31)
    unit_q, unit_g = (torch.nn.functional.normalize(m.pooled.double(), dim=1) for m in (query, gallery))
    scores = (unit_q @ unit_g.T).float().tolist()
    expected = [naive_order(row, range(31)) for row in scores]
    assert orders(query, gallery)[0].tolist() == expected


def test_leave_one_out_leaves_out_the_query_and_nothing_else():
    everyone = maps(2, 17)
    for order in orders(everyone, shortlists=(0, 4, 100)).values():
        for query, ranking in enumerate(order.tolist()):
            assert sorted([query, *ranking]) == list(range(17))


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_every_shortlist_gives_a_permutation_that_keeps_the_rest(leave_one_out):
    query, gallery = maps(3, 12), None if leave_one_out else maps(4, 15)
    candidates = 11 if leave_one_out else 15
    found = orders(query, gallery, shortlists=(0, 1, 3, 7, 50))
    for k, order in found.items():
        assert torch.equal(order.sort(dim=1).values, found[0].sort(dim=1).values)
        assert torch.equal(order[:, k:], found[0][:, k:])
        assert torch.equal(order[:, :k].sort(dim=1).values, found[0][:, :k].sort(dim=1).values)
        assert order.shape == (12, candidates)


@pytest.mark.slow
@pytest.mark.parametrize("matcher", [Fake(), Matcher(), Matcher(cross_correlation)])
def test_a_smaller_shortlist_beside_a_larger_is_the_same_as_alone(matcher):
    everyone = maps(5, 40)
    together = orders(everyone, matcher=matcher, shortlists=(0, 3, 10, 25))
    for k, order in together.items():
        assert torch.equal(order, orders(everyone, matcher=matcher, shortlists=(k,))[k])


def test_the_largest_shortlist_is_scored_once_and_no_other():
    matcher = Fake()
    orders(maps(6, 20), matcher=matcher, shortlists=(2, 0, 9, 5))
    assert matcher.asked == [(20, 9)]
    matcher = Fake()
    orders(maps(6, 20), matcher=matcher, shortlists=(0,))
    assert matcher.asked == []


@pytest.mark.parametrize("matcher", [Matcher(), Matcher("cross_correlation", weight=1.0)])
def test_a_shortlist_of_all_is_exhaustive_matching(matcher):
    query, gallery = maps(7, 8), maps(8, 21)
    scores = matcher.similarity(query, gallery)
    expected = scores.sort(dim=1, descending=True, stable=True).indices
    for k in (21, 1000):
        assert torch.equal(orders(query, gallery, matcher=matcher, shortlists=(k,))[k], expected)


def test_reranked_ties_are_ordered_by_index():
    query, gallery = maps(9, 6), maps(10, 30)
    matcher = Fake()
    order = orders(query, gallery, matcher=matcher, shortlists=(30,))[30]
    unit = ranking_module._prepared(query), ranking_module._prepared(gallery)
    scores = matcher.rerank(*unit, torch.arange(30).expand(6, 30)).tolist()
    assert order.tolist() == [naive_order(row, range(30)) for row in scores]


def test_the_same_image_many_times_comes_in_the_order_of_the_index():
    one = maps(11, 3)
    gallery = one[[0, 1, 0, 2, 0, 1, 0]]
    for order in orders(one, gallery, matcher=Matcher(), shortlists=(0, 7)).values():
        for ranking in order.tolist():
            for same in ([0, 2, 4, 6], [1, 5]):
                assert [at for at in ranking if at in same] == same


@pytest.mark.parametrize("matcher", [Fake(), Matcher()])
@pytest.mark.parametrize("leave_one_out", [True, False])
def test_blocks_do_not_change_the_rankings(matcher, leave_one_out):
    query, gallery = maps(12, 29, dtype=torch.float16), None if leave_one_out else maps(13, 37, dtype=torch.float16)
    whole = orders(query, gallery, matcher=matcher, shortlists=(0, 6))
    for block in (1, 2, 7, 28, 29, 1000):
        pieces = orders(query, gallery, matcher=matcher, shortlists=(0, 6), block=block)
        assert all(torch.equal(pieces[k], whole[k]) for k in whole)


def test_blocks_fit_the_budget_and_hold_at_least_one_query(monkeypatch):
    assert ranking_module.block_size(60_000, 100) * 60_000 * 32 <= ranking_module.BUDGET
    assert ranking_module.block_size(10**9, 10**9) == 1
    monkeypatch.setattr(ranking_module, "BUDGET", 3 * (20 * 32 + 19 * 96))
    found = list(rank(maps(14, 20), matcher=Fake(), shortlists=(0, 50), places=100))
    assert [ranked.queries.stop - ranked.queries.start for ranked in found] == [3, 3, 3, 3, 3, 3, 2]


def test_fewer_places_are_the_head_of_all_places():
    everyone = maps(15, 30)
    whole = orders(everyone, shortlists=(0, 4, 12))
    few = orders(everyone, shortlists=(0, 4, 12), places=8)
    assert all(torch.equal(few[k], whole[k][:, :8]) for k in whole)


def test_weights_given_per_image_are_those_of_the_right_images():
    everyone = maps(16, 14)
    weights = torch.rand(14, 4, generator=torch.Generator().manual_seed(1)) + 0.1
    matcher = Matcher((weights, weights))
    found = orders(everyone, matcher=matcher, shortlists=(13,), block=5)[13]
    scores = matcher.similarity(everyone, everyone).fill_diagonal_(-torch.inf)
    assert torch.equal(found, scores.sort(dim=1, descending=True, stable=True).indices[:, :13])


def test_the_pooled_vector_of_the_models_own_ranks():
    g = torch.Generator().manual_seed(3)
    own = torch.randn(9, 5, generator=g)
    found = orders(FeatureMaps(torch.randn(9, 4, 5, generator=g), (2, 2), own))
    assert torch.equal(found[0], orders(FeatureMaps(own[:, None], (1, 1)))[0])


def test_maps_that_require_a_gradient_are_ranked_without_one():
    trained = FeatureMaps(maps(17, 6).local.requires_grad_(), (2, 2))
    assert orders(trained, matcher=Matcher(), shortlists=(0, 3))[3].shape == (6, 5)


def test_what_cannot_be_ranked_is_said():
    with pytest.raises(UsageError, match=r"of the same dim, got .*use one model"):
        orders(maps(0, 3), maps(0, 3, dim=6))
    with pytest.raises(UsageError, match="expected images to rank, got"):
        orders(maps(0, 1))
    with pytest.raises(UsageError, match="expected shortlist >= 0 or 'all', got -1"):
        orders(maps(0, 3), shortlists=(-1,))
    with pytest.raises(UsageError, match="expected at least one shortlist, got none"):
        orders(maps(0, 3), shortlists=())
    bad = maps(0, 3)
    bad.local[1, 0, 0] = torch.nan
    with pytest.raises(UsageError, match="NaN"):
        orders(bad)


@pytest.mark.parametrize("shortlists", [(0, 7), ("all",)])
@pytest.mark.parametrize("own", [True, False])
def test_half_precision_stays_as_it_is_where_the_kernel_reads_it_so(monkeypatch, shortlists, own):
    """As on a GPU, here with the reference: the same ranking, from rows that are not made float32 as a whole."""
    monkeypatch.setenv("DIML_KERNEL", "torch")
    query, gallery = maps(12, 20).to(torch.float16), None if own else maps(13, 45).to(torch.float16)
    expected = orders(query, gallery, matcher=Matcher(), shortlists=shortlists)
    monkeypatch.setattr(unit_maps, "KEEPS_HALF", ("cpu",))
    assert isinstance(ranking_module._prepared(query).stored, ScaledMaps)
    for shortlist, order in orders(query, gallery, matcher=Matcher(), shortlists=shortlists).items():
        assert torch.equal(order, expected[shortlist])
