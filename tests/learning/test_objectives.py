"""The paper's two objectives against those of the library, the quadruplet loss against a loop, and the mining."""

import pytest
import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.regularizers import SparseCentersRegularizer

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning import Margin, MultiSimilarity, Quadruplet, StructuralDistance, StructuralSimilarity
from diml.learning.losses.library_losses import CentersApart
from diml.learning.losses.triplets import another_negative, distance_weighted, random_triplets, softhard
from diml.matching import Matcher

GRID, PARTS, DIM = (2, 2), 4, 6
LABELS = torch.arange(12) // 2
SIMILARITIES = ["structural", "pooled"]


def batch(seed=0, n=12, dtype=torch.float64, spread=1.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, DIM, generator=g, dtype=torch.float64)
    x = x + spread * torch.randn(n, PARTS, DIM, generator=g, dtype=torch.float64)
    return FeatureMaps(x.to(dtype).requires_grad_(), GRID)


def matcher(similarity):
    return Matcher("cross_correlation", weight=0.5 if similarity == "structural" else 0.0)


def seen(maps, similarity):
    return maps.local.flatten(1) if similarity == "structural" else maps.pooled


def same_loss_and_gradient(one, other, maps, **tolerance):
    torch.testing.assert_close(one, other, **tolerance)
    ends = [torch.autograd.grad(loss, maps.local)[0] for loss in (one, other)]
    torch.testing.assert_close(*ends, **tolerance)
    assert ends[0].abs().sum() > 0


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_margin_is_the_librarys(similarity, monkeypatch):
    maps = batch()
    objective = Margin(6, matcher(similarity)).double()
    with torch.no_grad():
        objective.beta.copy_(torch.linspace(0.6, 1.4, 6))
    triplets = random_triplets(LABELS)
    monkeypatch.setattr(objective, "triplets", lambda pooled, labels: triplets)
    # The library's distance of normalised vectors has no 1e-6 under the root.
    settings = {"distance": StructuralDistance(GRID)} if similarity == "structural" else {}
    library = losses.MarginLoss(margin=0.2, num_classes=6, learn_beta=True, **settings)
    library.beta.data = objective.beta.data.clone()
    ours = objective(maps, LABELS)
    theirs = library(seen(maps, similarity), LABELS, triplets)
    beta, library_beta = (
        torch.autograd.grad(loss, end, retain_graph=True)[0]
        for loss, end in [(ours, objective.beta), (theirs, library.beta)]
    )
    torch.testing.assert_close(beta, library_beta)
    assert beta.abs().sum() > 0
    same_loss_and_gradient(ours, theirs, maps, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_multi_similarity_is_the_librarys(similarity, spread):
    maps = batch(spread=spread)
    settings = {"distance": StructuralSimilarity(GRID)} if similarity == "structural" else {}
    mined = miners.MultiSimilarityMiner(0.1, **settings)(seen(maps, similarity), LABELS)
    theirs = losses.MultiSimilarityLoss(2, 40, 0.5, **settings)(seen(maps, similarity), LABELS, mined)
    same_loss_and_gradient(MultiSimilarity(matcher(similarity))(maps, LABELS), theirs, maps)


def test_multi_similarity_of_lonely_images():
    """A class of one image has no positives, so nothing counts for it; one class alone has no negatives."""
    maps = batch(n=5)
    labels = torch.tensor([0, 0, 0, 1, 2])
    mined = miners.MultiSimilarityMiner(0.1, distance=StructuralSimilarity(GRID))(maps.local.flatten(1), labels)
    library = losses.MultiSimilarityLoss(2, 40, 0.5, distance=StructuralSimilarity(GRID))
    expected = library(maps.local.flatten(1), labels, mined)
    torch.testing.assert_close(MultiSimilarity()(maps, labels), expected)
    alone = MultiSimilarity()(maps, torch.zeros(5, dtype=torch.int64))
    alone.backward()
    assert alone == 0
    assert (maps.local.grad == 0).all()


def test_margin_matches_only_mined_pairs(monkeypatch):
    asked = []
    original = Matcher.plans
    monkeypatch.setattr(Matcher, "plans", lambda self, a, b, i, j: asked.append(len(i)) or original(self, a, b, i, j))
    maps, labels = batch(n=112, dtype=torch.float32), torch.arange(112) // 2
    Margin(56)(maps, labels).backward()
    # One triplet for each of 112 anchors; the two images of a class have one another for positive.
    assert len(asked) == 1
    assert 56 < asked[0] <= 56 + 112
    assert maps.local.grad.isfinite().all()


def test_margin_of_a_batch_without_triplets_is_zero_and_harmless():
    maps = batch()
    objective = Margin(6)
    loss = objective(maps, torch.zeros(12, dtype=torch.int64))
    loss.backward()
    assert loss == 0
    assert (maps.local.grad == 0).all()
    assert (objective.beta.grad == 0).all()


def test_half_precision_and_own_pooled_vectors():
    maps = batch(dtype=torch.float32)
    half = FeatureMaps(maps.local.detach().bfloat16().requires_grad_(), GRID)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = MultiSimilarity()(half, LABELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, MultiSimilarity()(half.to(torch.float32), LABELS))
    own = FeatureMaps(maps.local, GRID, pooled=torch.randn(12, DIM, generator=torch.Generator().manual_seed(1)))
    assert abs(MultiSimilarity()(own, LABELS) - MultiSimilarity()(maps, LABELS)) > 1e-3


def test_what_an_objective_learns_and_says():
    assert {name: tuple(value.shape) for name, value in Margin(6).state_dict().items()} == {"beta": (6,)}
    assert not list(MultiSimilarity().parameters())
    assert Margin(6).describe() == (
        "margin (margin 0.2, a beta for each of 6 classes, distance-weighted triplets within 0.5..1.4) "
        "on the structural distance (cross_correlation marginals, weight 0.5, eps 0.05)"
    )
    assert MultiSimilarity(matcher("pooled")).describe().endswith("on the pooled similarity")
    for wrong in ({"margin": 0}, {"classes": 0}, {"cutoff": 1.5}, {"nonzero_loss_cutoff": 3}):
        with pytest.raises(UsageError, match="expected"):
            Margin(**{"classes": 6, **wrong})
    with pytest.raises(UsageError, match="positive_weight"):
        MultiSimilarity(positive_weight=-1)


def test_distance_weighted_triplets():
    """One for each anchor, of the right classes; negatives are within the cutoff, and none is drawn far more often."""
    torch.manual_seed(0)
    pooled = torch.nn.functional.normalize(torch.randn(60, 8), dim=1)
    labels = torch.arange(60) // 3
    drawn = torch.zeros(60, 60)
    for _ in range(50):
        a, p, n = distance_weighted(pooled, labels, 0.5, 1.2)
        assert len(a.unique()) == len(a)
        assert (labels[a] == labels[p]).all()
        assert (a != p).all()
        assert (labels[a] != labels[n]).all()
        drawn[a, n] += 1
    distance = torch.cdist(pooled, pooled)
    assert (distance[drawn > 0] < 1.2).all()
    # Wu et al.: near negatives are rare, and drawn as often; an even draw would have the mean distance.
    even = distance[(labels[:, None] != labels) & (distance < 1.2)].mean()
    assert (drawn * distance).sum() / drawn.sum() < even - 0.02


def test_softhard_triplets_are_hard():
    torch.manual_seed(0)
    distance = torch.cdist(torch.randn(30, 3), torch.randn(30, 3))
    labels = torch.arange(30) // 3
    same = labels[:, None] == labels
    positive = same & ~torch.eye(30, dtype=torch.bool)
    for _ in range(20):
        a, p, n = softhard(distance, labels)
        assert a.tolist() == list(range(30))
        for i, j, k in zip(a.tolist(), p.tolist(), n.tolist(), strict=True):
            assert positive[i, j]
            assert not same[i, k]
            hard = positive[i] & (distance[i] > distance[i][~same[i]].min())
            assert hard[j] or not hard.any()
            hard = ~same[i] & (distance[i] < distance[i][positive[i]].max())
            assert hard[k] or not hard.any()
    assert [len(x) for x in softhard(distance[:2, :2], torch.tensor([0, 1]))] == [0, 0, 0]


def test_the_fourth_image_is_of_a_third_class():
    torch.manual_seed(0)
    a, n = torch.arange(12), (torch.arange(12) + 2) % 12
    for _ in range(10):
        third = another_negative(LABELS, a, n)
        assert (LABELS[third] != LABELS[a]).all()
        assert (LABELS[third] != LABELS[n]).all()
    two = torch.tensor([0, 0, 1, 1])
    assert another_negative(two, torch.tensor([0]), torch.tensor([2])).tolist() == [-1]


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_quadruplet_is_its_formula(similarity):
    maps = batch()
    objective = Quadruplet(matcher(similarity), margin=0.5, second_margin=0.3, nonzero_loss_cutoff=2.0)
    distance = StructuralDistance(GRID, weight=0.5 if similarity == "structural" else 0.0)(maps.local.flatten(1))
    torch.manual_seed(5)
    found = objective(maps, LABELS)
    torch.manual_seed(5)
    rows = torch.nn.functional.normalize(maps.pooled.detach(), dim=1)
    a, p, n = distance_weighted(rows, LABELS, 0.5, 2.0)
    third = another_negative(LABELS, a, n)
    expected = 0.0
    for i, j, k, m in zip(*(x.tolist() for x in (a, p, n, third)), strict=True):
        expected += max(0.0, distance[i, j].item() - distance[i, k].item() + 0.5)
        expected += max(0.0, distance[i, j].item() - distance[k, m].item() + 0.3)
    assert found.item() == pytest.approx(expected / len(a), abs=1e-6)
    two_classes = Quadruplet(matcher(similarity))(batch(n=4), LABELS[:4])
    assert two_classes.isfinite()


@pytest.mark.parametrize("centers", [2, 3])
def test_centers_apart_is_the_librarys(centers):
    weights = torch.randn(5 * centers, 7, generator=torch.Generator().manual_seed(0))
    expected = SparseCentersRegularizer(5, centers)(weights)
    torch.testing.assert_close(CentersApart(centers)(weights), expected, atol=1e-5, rtol=0)
    same = torch.ones(2 * centers, 7, requires_grad=True)
    CentersApart(centers)(same).backward()
    assert same.grad.isfinite().all()
