"""The metrics against loops, pytorch-metric-learning and torchmetrics."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMAP, RetrievalRPrecision

from diml.errors import UsageError
from diml.evaluation import evaluate_maps, map_at_r, r_precision, recall_at
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher


def labelled(seed, n=90, classes=11, dim=6):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=g)
    centres = torch.randn(classes, dim, generator=g)
    return centres[labels] + torch.randn(n, dim, generator=g), labels


def as_maps(vectors):
    return FeatureMaps(vectors[:, None], (1, 1))


def by_loops(ranking, r):
    """Recall@k, R-precision and MAP@R of one ranking (list of bool) with r relevant items, as the papers write them."""
    recalls = [float(any(ranking[:k])) for k in (1, 2, 4, 8)]
    total = sum(
        sum(ranking[:place]) / place for place in range(1, r + 1) if place <= len(ranking) and ranking[place - 1]
    )
    return [*recalls, sum(ranking[:r]) / r, total / r]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(0, 4))
def test_metrics_are_what_the_loops_say(ranking, beyond):
    r = max(1, sum(ranking)) + beyond
    relevant = torch.tensor([ranking + [False] * (r + 8)])
    expected = by_loops(ranking, r)
    count = torch.tensor([r])
    got = [recall_at(relevant, k) for k in (1, 2, 4, 8)] + [r_precision(relevant, count), map_at_r(relevant, count)]
    torch.testing.assert_close(torch.cat(got), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=2, max_size=10).filter(any), st.data())
def test_moving_a_relevant_item_forward_never_lowers_a_metric(ranking, data):
    at = data.draw(st.integers(1, len(ranking) - 1))
    better = list(ranking)
    if better[at] and not better[at - 1]:
        better[at - 1], better[at] = True, False
    r = torch.tensor([sum(ranking)] * 2)
    relevant = torch.tensor([ranking, better])
    for metric in (r_precision(relevant, r), map_at_r(relevant, r), recall_at(relevant, 1)):
        assert 0 <= metric[0] <= metric[1] <= 1


@pytest.mark.parametrize("seed", range(4))
def test_leave_one_out_agrees_with_pytorch_metric_learning(seed):
    vectors, labels = labelled(seed)
    labels[0] = 99  # a class of one image: left out of the averages, there and here
    row = evaluate_maps(as_maps(vectors), labels, matcher=Matcher(), shortlists=[0]).results[0]
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=CustomKNN(CosineSimilarity()),
        kmeans_func=lambda *_: None,
    )
    expected = calculator.get_accuracy(vectors, labels)
    assert row["recall@1"] == pytest.approx(expected["precision_at_1"], abs=1e-9)
    assert row["r_precision"] == pytest.approx(expected["r_precision"], abs=1e-9)
    assert row["map@r"] == pytest.approx(expected["mean_average_precision_at_r"], abs=1e-9)


def test_query_and_gallery_agree_with_pytorch_metric_learning():
    vectors, labels = labelled(7, n=120)
    query, gallery = as_maps(vectors[:40]), as_maps(vectors[40:])
    row = evaluate_maps(query, labels[:40], gallery, labels[40:], matcher=Matcher(), shortlists=[0]).results[0]
    calculator = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=CustomKNN(CosineSimilarity()),
        kmeans_func=lambda *_: None,
    )
    expected = calculator.get_accuracy(vectors[:40], labels[:40], vectors[40:], labels[40:])
    assert row["recall@1"] == pytest.approx(expected["precision_at_1"], abs=1e-9)
    assert row["r_precision"] == pytest.approx(expected["r_precision"], abs=1e-9)
    assert row["map@r"] == pytest.approx(expected["mean_average_precision_at_r"], abs=1e-9)


def test_leave_one_out_agrees_with_torchmetrics():
    vectors, labels = labelled(5)
    row = evaluate_maps(as_maps(vectors), labels, matcher=Matcher(), shortlists=[0]).results[0]
    unit = torch.nn.functional.normalize(vectors.double(), dim=1)
    others = ~torch.eye(len(labels), dtype=torch.bool)
    scores, target = (unit @ unit.T)[others], (labels[:, None] == labels)[others]
    query = torch.arange(len(labels))[:, None].expand(-1, len(labels))[others]
    for k in (1, 2, 4, 8):
        hit_rate = RetrievalHitRate(top_k=k, empty_target_action="skip")(scores, target, indexes=query)
        assert row[f"recall@{k}"] == pytest.approx(hit_rate.item(), abs=1e-6)
    precision = RetrievalRPrecision(empty_target_action="skip")(scores, target, indexes=query)
    assert row["r_precision"] == pytest.approx(precision.item(), abs=1e-6)


def test_map_at_r_is_average_precision_where_nothing_relevant_lies_beyond_r():
    relevant = torch.tensor([[True, True, True, False, False]])
    average = RetrievalMAP()(torch.linspace(1, 0, 5), relevant[0], indexes=torch.zeros(5, dtype=torch.int64))
    assert map_at_r(relevant, torch.tensor([3])).item() == average.item() == 1


def test_a_query_without_relevant_items_has_no_precision():
    nothing, none = torch.zeros(1, 8, dtype=torch.bool), torch.tensor([0])
    assert r_precision(nothing, none).isnan().all()
    assert map_at_r(nothing, none).isnan().all()
    assert recall_at(nothing, 8).item() == 0


def test_no_queries_give_no_numbers():
    nothing = torch.zeros(0, 8, dtype=torch.bool)
    assert map_at_r(nothing, torch.zeros(0, dtype=torch.int64)).shape == (0,)


@pytest.mark.usefixtures("unchecked_shapes")
def test_too_short_rankings_are_refused_rather_than_scored_low():
    relevant = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(UsageError, match="expected rankings of at least 4 places, got 3"):
        recall_at(relevant, 4)
    with pytest.raises(UsageError, match="at least 5 places"):
        map_at_r(relevant, torch.tensor([1, 5]))
    with pytest.raises(UsageError, match="one for each ranking"):
        r_precision(relevant, torch.tensor([1]))
    with pytest.raises(UsageError, match="with k >= 1, got k = 0"):
        recall_at(relevant, 0)
    with pytest.raises(UsageError, match="expected relevant to be bool"):
        recall_at(relevant.float(), 1)
