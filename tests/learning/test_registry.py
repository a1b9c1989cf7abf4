"""Every loss by its name: options, refusals, and that it can be trained with."""

import math
import re
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.losses import HistogramLoss

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning import LOSSES, StructuralSimilarity, build_objective
from diml.matching import Matcher

GRID, PARTS, DIM, CLASSES = (2, 2), 4, 6, 6
LABELS = torch.arange(12) // 2
POOLED_ONLY = {"angular", "arcface", "circle", "snr"}
NAMES = {
    *POOLED_ONLY, "contrastive", "histogram", "lifted", "margin", "multisimilarity", "npair", "proxy-anchor",
    "proxynca", "quadruplet", "softmax", "softtriple", "supcon", "triplet-random", "triplet-semihard",
    "triplet-softhard", "triplet-distance",
}  # fmt: skip
# Number of own parameters of these losses with structural matching.
LEARNED = {
    "margin": CLASSES,
    "proxy-anchor": CLASSES * PARTS * DIM,
    "proxynca": CLASSES * PARTS * DIM,
    "softmax": CLASSES * PARTS * DIM,
    "softtriple": 2 * CLASSES * PARTS * DIM,
}
CASES = [
    (name, how) for name in LOSSES for how in ("structural", "pooled") if how == "pooled" or LOSSES[name].structural
]


def build(name, similarity="structural", **settings):
    return build_objective(name, similarity=similarity, **{"classes": CLASSES, "dim": DIM, "grid": GRID, **settings})


def batch(seed=0, n=12, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, DIM, generator=g) + torch.randn(n, PARTS, DIM, generator=g)
    return FeatureMaps(x.to(dtype).requires_grad_(), GRID)


def test_the_names():
    assert set(LOSSES) == NAMES
    assert {name for name, loss in LOSSES.items() if not loss.structural} == POOLED_ONLY
    assert all(loss.source for loss in LOSSES.values())


@pytest.mark.parametrize(("name", "similarity"), CASES)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_every_loss_teaches(name, similarity):
    torch.manual_seed(0)
    maps = batch()
    objective = build(name, similarity)
    loss = objective(maps, LABELS)
    loss.backward()
    assert loss.ndim == 0
    assert loss.isfinite()
    assert maps.local.grad.isfinite().all()
    assert maps.local.grad.abs().sum() > 0
    learned = list(objective.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in learned)
    if similarity == "structural":
        assert sum(parameter.numel() for parameter in learned) == LEARNED.get(name, 0)
    assert name.split("-")[0] in objective.describe()
    assert similarity in objective.describe()


@pytest.mark.parametrize(("name", "similarity"), CASES)
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_steps_make_the_loss_smaller(name, similarity):
    """Free maps of one batch, optimised for some steps: no loss has the wrong sign."""
    maps = batch(seed=1)
    torch.manual_seed(0)
    objective = build(name, similarity)
    # Which triplets are semihard changes during training; the loss over all triplets must fall.
    measure = build("triplet-random", similarity) if name == "triplet-semihard" else objective
    optimizer = torch.optim.Adam([maps.local, *objective.parameters()], lr=0.03)

    def shown():
        torch.manual_seed(1)
        return measure(FeatureMaps(maps.local, GRID), LABELS)

    before = shown().item()
    for _ in range(25):
        optimizer.zero_grad()
        objective(FeatureMaps(maps.local, GRID), LABELS).backward()
        optimizer.step()
    assert shown().item() < before


@pytest.mark.parametrize("name", ["contrastive", "npair", "triplet-distance"])
def test_half_precision_and_own_pooled_vectors(name):
    maps = batch()
    own = FeatureMaps(
        maps.local.bfloat16(), GRID, pooled=torch.randn(12, DIM, generator=torch.Generator().manual_seed(2))
    )
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build(name)(own, LABELS)
    assert loss.dtype == torch.float32
    loss.backward()
    assert maps.local.grad.isfinite().all()
    torch.manual_seed(0)
    assert abs(build(name)(maps, LABELS) - loss) > 1e-4


def test_options_arrive():
    assert build("contrastive", options={"neg_margin": "0.7"}).loss.neg_margin == 0.7
    assert build("margin", options={"beta": 0.6}).beta.tolist() == pytest.approx([0.6] * CLASSES)
    assert build("histogram", options={"bins": 10.0}).loss.delta == 0.2
    assert build("softtriple", options={"centers_per_class": 3}).loss.fc.shape == (PARTS * DIM, 3 * CLASSES)
    assert build("softtriple", options={"centers_per_class": 1}).loss.weight_regularizer is None
    assert build("supcon", marginals="uniform", eps=0.1, weight=0.25).loss.distance.measure.matcher.eps == 0.1


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"name": "triplets"}, "expected a loss out of angular, .*, got 'triplets'"),
        ({"similarity": "both"}, "expected similarity structural or pooled, got 'both'"),
        ({"options": {"margins": 1}}, r"expected an option of loss margin \(margin, beta, .*\), got 'margins'"),
        ({"options": {"beta": "wide"}}, "option beta of loss margin: expected a number, got 'wide'"),
        ({"options": {"beta": math.inf}}, "expected a number, got inf"),
        ({"name": "supcon", "options": {"temperature": 0}}, "expected a number above 0, got 0"),
        ({"name": "histogram", "options": {"bins": 2.5}}, "expected a whole number above 0, got 2.5"),
        ({"name": "triplet-random", "options": {"scale": 1}}, r"option of loss triplet-random \(margin\), got 'scale'"),
        ({"classes": 0}, "expected classes, dim and grid of at least 1"),
        ({"marginals": "even"}, "marginals to be one of .*, got 'even'"),
        ({"weight": 2}, "expected weight from 0 .* got 2.0"),
    ],
)
def test_what_cannot_be_is_refused(wanted, said):
    with pytest.raises(UsageError, match=said):
        build(**{"name": "margin", **wanted})


@pytest.mark.parametrize("name", sorted(POOLED_ONLY))
def test_losses_with_a_distance_of_their_own_name_the_alternatives(name):
    with pytest.raises(UsageError, match=f"loss {name} requires its own distance.*similarity pooled.*contrastive"):
        build(name)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_histogram_is_its_formula():
    """Ustinova and Lempitsky 2016, in plain loops: the chance that a negative is more similar than a positive."""
    maps, bins = batch(seed=3), 10
    similarity = StructuralSimilarity(GRID)(maps.local.flatten(1)).detach().double()
    histograms = {True: [0.0] * (bins + 1), False: [0.0] * (bins + 1)}
    for i in range(12):
        for j in range(i):
            place = (similarity[i, j].item() + 1) * bins / 2
            low = math.floor(place)
            same = bool(LABELS[i] == LABELS[j])
            histograms[same][low] += 1 - (place - low)
            histograms[same][low + 1] += place - low
    positive, negative = ([x / sum(histograms[same]) for x in histograms[same]] for same in (True, False))
    expected = sum(negative[k] * sum(positive[: k + 1]) for k in range(bins + 1))
    assert build("histogram", options={"bins": bins})(maps, LABELS).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_histogram_takes_images_that_are_the_same():
    same = FeatureMaps(torch.ones(4, PARTS, DIM), GRID)
    labels = torch.tensor([0, 0, 1, 1])
    assert build("histogram", "pooled")(same, labels).isfinite()
    with pytest.raises(RuntimeError):  # the library alone fails on a similarity of 1
        HistogramLoss(65)(torch.eye(4)[[0, 0, 0, 0]], labels)


@pytest.mark.parametrize("name", ["triplet-random", "triplet-distance"])
def test_sampled_triplets_match_only_their_pairs(name, monkeypatch):
    asked = []
    original = Matcher.plans
    monkeypatch.setattr(Matcher, "plans", lambda self, a, b, i, j: asked.append(len(i)) or original(self, a, b, i, j))
    build(name, classes=30)(batch(n=60), torch.arange(60) // 2).backward()
    assert len(asked) == 1
    assert asked[0] <= 30 + 60


def test_the_table_in_the_docs():
    page = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    told = {name: (how == "no", options, source) for name, how, options, source in rows}
    assert told == {
        name: (not loss.structural, ", ".join(f"{key} {value:g}" for key, value in loss.options.items()), loss.source)
        for name, loss in LOSSES.items()
    }
    for name in LOSSES:
        if name not in POOLED_ONLY:
            what = next(how for row, how, _, _ in rows if row == name).split(",")[0].removeprefix("squared ")
            assert f"structural {what}" in build(name).describe()
