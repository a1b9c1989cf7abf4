"""The protocol on feature maps: who asks, what counts, and how much memory it takes."""

import json
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.errors import DatasetError, UsageError
from diml.evaluation import METRICS, evaluate_maps
from diml.evaluation import ranking as ranking_module
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher


def clustered(labels, noise=0.0, dim=16, grid=(2, 2)):
    """Maps around one vector per class; without noise a perfect ranking."""
    g = torch.Generator().manual_seed(0)
    parts = grid[0] * grid[1]
    centres = torch.randn(max(labels) + 1, parts, dim, generator=g)
    return FeatureMaps(centres[labels] + noise * torch.randn(len(labels), parts, dim, generator=g), grid)


def by_loops(scores, labels, k_shortlist, fine, published):
    """All metrics, leave-one-out, one query after the other."""
    rows = []
    for query, label in enumerate(labels):
        others = [at for at in range(len(labels)) if at != query]
        r = sum(labels[at] == label for at in others)
        if not r:
            continue
        order = sorted(others, key=lambda at: (-scores[query][at], at))
        head = sorted(order[:k_shortlist], key=lambda at: (-fine[query][at], at))
        hits = [labels[at] == label for at in head + order[k_shortlist:]]
        r += published
        average = sum(sum(hits[: at + 1]) / (at + 1) for at in range(min(r, len(hits))) if hits[at]) / r
        rows.append([*(float(any(hits[:k])) for k in (1, 2, 4, 8)), sum(hits[:r]) / r, average])
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("protocol", ["correct", "published"])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3] * 6 + [4], [0] * 9, [0] * 20 + [1, 2, 2]])
def test_results_are_what_the_loops_say(protocol, labels):
    maps = clustered(labels, noise=2.0)
    matcher = Matcher()
    unit = torch.nn.functional.normalize(maps.pooled.double(), dim=1)
    scores = (unit @ unit.T).float().tolist()
    n = len(labels)
    fine = matcher.rerank(maps, maps, torch.arange(n).expand(n, n)).tolist()
    result = evaluate_maps(maps, labels, matcher=matcher, shortlists=(0, 3, n), protocol=protocol)
    for row in result.results:
        expected = by_loops(scores, labels, row["shortlist"], fine, protocol == "published")
        assert [row[name] for name in METRICS] == pytest.approx(expected, abs=1e-12)
    assert result.without_relevant == sum(labels.count(label) == 1 for label in labels)
    assert result.queries + result.without_relevant == result.images == n


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=14).filter(lambda labels: len(set(labels)) < len(labels)))
def test_a_perfect_ranking_scores_one_and_less_as_published(labels):
    maps = clustered(labels)
    for row in evaluate_maps(maps, labels, matcher=Matcher(), shortlists=(0, 5)).results:
        assert [row[name] for name in METRICS] == [1.0] * 6
    others = [labels.count(label) - 1 for label in labels if labels.count(label) > 1]
    expected = sum(r / (r + 1) for r in others) / len(others)
    for row in evaluate_maps(maps, labels, matcher=Matcher(), shortlists=(0, 5), protocol="published").results:
        assert row["recall@1"] == 1
        assert (row["r_precision"], row["map@r"]) == pytest.approx((expected, expected), abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=4, max_size=20).filter(lambda labels: len(set(labels)) < len(labels)))
def test_laws_of_every_result(labels):
    for row in evaluate_maps(clustered(labels, noise=3.0), labels, matcher=Matcher(), shortlists=(0, 2)).results:
        assert 0 <= row["recall@1"] <= row["recall@2"] <= row["recall@4"] <= row["recall@8"] <= 1
        assert 0 <= row["map@r"] <= row["r_precision"] <= 1


def test_renaming_the_classes_changes_nothing():
    labels = [0, 1, 2] * 5
    maps = clustered(labels, noise=2.0)
    first = evaluate_maps(maps, labels, matcher=Matcher()).results
    names = evaluate_maps(maps, [f"class {5 - label}" for label in labels], matcher=Matcher()).results
    tensor = evaluate_maps(maps, torch.tensor(labels) * -7, matcher=Matcher()).results
    assert first == names == tensor


def test_query_and_gallery_leave_no_image_out_and_know_no_published_counting():
    labels = [0, 0, 1, 1]
    maps = clustered(labels)
    result = evaluate_maps(maps[:2], ["a", "z"], maps, ["a", "a", "b", "b"], matcher=Matcher(), shortlists=[0, 2])
    assert (result.images, result.classes, result.queries, result.without_relevant) == (6, 3, 1, 1)
    assert all(row["map@r"] == 1 for row in result.results)
    published = evaluate_maps(
        maps[:2], ["a", "z"], maps, ["a", "a", "b", "b"], matcher=Matcher(), shortlists=[0, 2], protocol="published"
    )
    assert published.results == result.results


def test_a_class_of_one_image_asks_nothing_but_is_in_the_way():
    maps = FeatureMaps(torch.tensor([[[1.0, 0.0]], [[1.0, 0.3]], [[1.0, 0.1]]]), (1, 1))
    result = evaluate_maps(maps, ["a", "a", "alone"], matcher=Matcher(), shortlists=[0])
    assert (result.queries, result.without_relevant, result.classes) == (2, 1, 2)
    assert result.results[0]["recall@1"] == 0
    assert result.results[0]["recall@2"] == 1
    assert result.summary().endswith("left out of the averages because no other image has their class: 1")


def test_blocks_do_not_change_the_result(monkeypatch):
    labels = [0, 1, 2, 3, 3] * 6
    maps = clustered(labels, noise=2.0)
    whole = evaluate_maps(maps, labels, matcher=Matcher(), shortlists=(0, 5, 100))
    monkeypatch.setattr(ranking_module, "BUDGET", 1)
    told = []
    pieces = evaluate_maps(
        maps, labels, matcher=Matcher(), shortlists=(0, 5, 100), progress=lambda *what: told.append(what)
    )
    assert pieces == whole
    assert told == [("ranking", done, 30) for done in range(1, 31)]


def test_json_has_the_promised_keys_first_and_is_json():
    labels = [0, 0, 1, 1]
    result = evaluate_maps(clustered(labels), labels, matcher=Matcher(), shortlists=(100, 0, 100))
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert list(document)[:5] == ["dataset", "images", "classes", "model", "results"]
    assert [list(row) for row in document["results"]] == [
        ["shortlist", "recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r"]
    ] * 2
    assert [row["shortlist"] for row in document["results"]] == [100, 0]
    assert document["marginals"] == "uniform"
    assert document["grid"] == [2, 2]


def test_the_table_has_a_line_for_each_shortlist():
    labels = [0, 0, 1, 1]
    lines = evaluate_maps(clustered(labels), labels, matcher=Matcher()).table().splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[3].split("|")[1:3] == ["       100 ", "   1.0000 "]


def test_what_is_wrong_is_said_in_one_sentence():
    maps = clustered([0, 0, 1, 1])
    for error, match, labels, options in [
        (
            UsageError,
            "expected protocol to be one of correct, published, got 'strict'",
            [0, 0, 1, 1],
            {"protocol": "strict"},
        ),
        (UsageError, "expected shortlist >= 0 or 'all', got -5", [0, 0, 1, 1], {"shortlists": (0, -5)}),
        (UsageError, "expected at least one shortlist, got none", [0, 0, 1, 1], {"shortlists": ()}),
        (UsageError, "each of the 4 images, got 3 labels", [0, 0, 1], {}),
        (UsageError, "gallery maps and gallery labels together", [0, 0, 1, 1], {"gallery_labels": [1]}),
        (DatasetError, "none of the 4 classes has two images", [0, 1, 2, 3], {}),
        (
            DatasetError,
            "no query of the 4 has an image of its class",
            [0, 0, 1, 1],
            {"gallery_maps": maps, "gallery_labels": [2] * 4},
        ),
    ]:
        with pytest.raises(error, match=match) as caught:
            evaluate_maps(maps, labels, matcher=Matcher(), **options)
        assert "\n" not in str(caught.value)


MANY = """
import re, sys, torch
from diml.evaluation import evaluate_maps
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher

class Cheap:  # six million plans would take minutes; the maps, the shortlists and the orders are all there
    def rerank(self, query_maps, gallery_maps, shortlist):
        one = Matcher().rerank(type(query_maps)(query_maps.rows[:1]), gallery_maps, shortlist[:1])
        scores = torch.einsum("qd,qkd->qk", query_maps.rows[:, 3], gallery_maps.rows[:, 3][shortlist])
        return torch.cat([one, scores[1:]])

def peak():  # KiB, of this process alone: what getrusage tells includes the process that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

n = int(sys.argv[1])
local = torch.empty(n, 16, 128, dtype=torch.float16)
for start in range(0, n, 1000):
    local[start:start + 1000] = torch.randn(1000, 16, 128)
labels = [f"class {i // 5}" for i in range(n)]
result = evaluate_maps(FeatureMaps(local, (4, 4)), labels, matcher=Cheap(), shortlists=(0, 100))
assert (result.queries, result.classes) == (n, n // 5)
print(peak() / 2**10)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("images", "mib"),
    [
        (15_000, 1300),
        pytest.param(30_000, 2000, marks=pytest.mark.long),
        pytest.param(60_000, 4000, marks=pytest.mark.long),
    ],
)
def test_many_images_take_little_memory(images, mib):
    """A matrix of all similarities alone would take 860, 3400 and 13700 MiB."""
    ran = subprocess.run([sys.executable, "-c", MANY, str(images)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert float(ran.stdout) < mib, f"{ran.stdout} MiB"
