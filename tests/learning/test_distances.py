"""The two distances: values, gradients, and every loss and miner of the library that accepts them."""

import importlib
import inspect
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import ot
import pytest
import pytorch_metric_learning
import torch
from pytorch_metric_learning import losses, miners
from pytorch_metric_learning.distances import BatchedDistance

import diml.learning
from diml.errors import DimlError, UsageError
from diml.feature_maps import FeatureMaps
from diml.learning import PairMeasure, StructuralDistance, StructuralSimilarity, flattened
from diml.learning.losses.all_pairs import combined
from diml.learning.losses.pair_measure import DISTANCE, SIMILARITY, _pairs
from diml.matching import Matcher, prepare

GRID, PARTS, DIM = (2, 2), 4, 6
LABELS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
KINDS = [StructuralSimilarity, StructuralDistance]


def embeddings(seed=0, n=8, dtype=torch.float32, gradient=True):
    """Flattened maps of n images with correlated parts."""
    g = torch.Generator().manual_seed(seed)
    maps = torch.randn(n, 1, DIM, generator=g, dtype=torch.float64) + torch.randn(
        n, PARTS, DIM, generator=g, dtype=torch.float64
    )
    return maps.flatten(1).to(dtype).requires_grad_(gradient)


# Such a smooth plan takes few iterations at any tolerance.
SMOOTH = {"eps": 0.5, "tolerance": 1e-10}


def tight(kind, **settings):
    return kind(GRID, **SMOOTH, **settings)


def naive(a, b, scheme, value, weight, eps):
    """The value for two maps (r, d) from the equations, with the plan of another library."""
    unit_a, unit_b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    pooled_a, pooled_b = (x.mean(0) / np.linalg.norm(x.mean(0)) for x in (a, b))
    cosine = unit_a @ unit_b.T
    mu_a, mu_b = (unit_a @ pooled_b).clip(0), (unit_b @ pooled_a).clip(0)
    mu_a, mu_b = (np.ones(len(mu)) if scheme == "uniform" or not mu.any() else mu for mu in (mu_a, mu_b))
    cells = np.ix_(mu_a > 0, mu_b > 0)  # parts without mass take no part
    mu_a, mu_b = (mu[mu > 0] / mu.sum() for mu in (mu_a, mu_b))
    plan = ot.sinkhorn(mu_a, mu_b, 1 - cosine[cells], eps, "sinkhorn_log", numItermax=10_000, stopThr=1e-12)
    return weight * (plan * value(cosine[cells])).sum() + (1 - weight) * value(pooled_a @ pooled_b)


VALUES = {StructuralSimilarity: lambda x: x, StructuralDistance: lambda x: np.sqrt(2 - 2 * x + 1e-6)}


@pytest.mark.parametrize("scheme", ["uniform", "cross_correlation"])
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_those_of_the_equations(kind, scheme):
    a, b = embeddings(0, 5, torch.float64, False), embeddings(1, 4, torch.float64, False)
    distance = tight(kind, marginals=scheme, weight=0.3)
    maps_a, maps_b = (x.unflatten(1, (PARTS, DIM)).numpy() for x in (a, b))
    expected = [[naive(x, y, scheme, VALUES[kind], 0.3, 0.5) for y in maps_b] for x in maps_a]
    torch.testing.assert_close(distance(a, b), torch.tensor(expected), atol=1e-8, rtol=0)
    of_itself = [[naive(x, y, scheme, VALUES[kind], 0.3, 0.5) for y in maps_a] for x in maps_a]
    torch.testing.assert_close(distance(a), torch.tensor(of_itself), atol=1e-8, rtol=0)
    torch.testing.assert_close(distance.pairwise_distance(a[:4], b), distance(a[:4], b).diag(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_conventions_of_the_library(kind):
    distance = kind(GRID)
    assert distance.is_inverted == (kind is StructuralSimilarity)
    assert not distance.normalize_embeddings
    a = embeddings(dtype=torch.float64)
    torch.testing.assert_close(distance(a), distance(a, a))
    torch.testing.assert_close(distance(a), distance(7 * a))  # parts are normalised, so embeddings need not be
    torch.testing.assert_close(kind(GRID, power=2)(a), distance(a) ** 2)
    found = distance(a)
    assert torch.equal(found, found.mT)
    b, rows = embeddings(1, dtype=torch.float64), []
    BatchedDistance(distance, lambda piece, start, end: rows.append(piece), batch_size=3)(a, b)
    torch.testing.assert_close(torch.cat(rows), distance(a, b))


@pytest.mark.parametrize("kind", KINDS)
def test_a_number_does_not_depend_on_the_batch(kind):
    a, b = embeddings(0), embeddings(1)
    torch.testing.assert_close(kind(GRID)(a, b)[2:3, 5:6], kind(GRID)(a[2:3], b[5:6]), atol=1e-6, rtol=0)


def fixed_shares(n, m, same):
    """Weights that sum to 1 for each pair; within one set, those of (j, i) are the transpose of those of (i, j)."""
    g = torch.Generator().manual_seed(3)
    shares = torch.rand(n, PARTS + 1, m, PARTS + 1, generator=g, dtype=torch.float64)
    return (shares + shares.permute(2, 3, 0, 1)) / 2 if same else shares


def units(embeddings):
    return prepare(FeatureMaps(embeddings.unflatten(1, (PARTS, DIM)), GRID)).rows


@pytest.mark.parametrize("formula", [SIMILARITY, DISTANCE], ids=lambda formula: formula.name)
def test_gradients_with_the_plan_given(formula):
    a, b = embeddings(0, 3, torch.float64), embeddings(1, 2, torch.float64)
    given = fixed_shares(3, 2, False)
    assert torch.autograd.gradcheck(lambda x, y: combined(units(x), units(y), lambda *_: given, formula), (a, b))
    itself = fixed_shares(3, 3, True)

    def of_itself(x):
        rows = units(x)
        return combined(rows, rows, lambda *_: itself, formula)

    # For an image with itself the slope is -1000, which a difference quotient does not resolve.
    others = ~torch.eye(3, dtype=torch.bool)
    assert torch.autograd.gradcheck(lambda x: of_itself(x)[others], (a,))
    plan = torch.rand(2, PARTS, PARTS, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x, y: _pairs(units(x)[:2], units(y), plan, 0.4, formula), (a, b))


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("formula", [SIMILARITY, DISTANCE], ids=lambda formula: formula.name)
def test_the_matrix_is_all_pairs_gradient_included(formula, same):
    measure = PairMeasure(Matcher("cross_correlation", **SMOOTH), formula)
    a, b = embeddings(0, 5, torch.float64), embeddings(1, 4, torch.float64)
    maps_a = FeatureMaps(a.unflatten(1, (PARTS, DIM)), GRID)
    maps_b = maps_a if same else FeatureMaps(b.unflatten(1, (PARTS, DIM)), GRID)
    i = torch.arange(5).repeat_interleave(len(maps_b))
    j = torch.arange(len(maps_b)).repeat(5)
    weights = torch.randn(5, len(maps_b), dtype=torch.float64)
    matrix, pairs = measure.matrix(maps_a, maps_b), measure.pairs(maps_a, maps_b, i, j).view_as(weights)
    torch.testing.assert_close(matrix, pairs, atol=1e-9, rtol=0)
    ends = (a,) if same else (a, b)
    of_matrix, of_pairs = (torch.autograd.grad((x * weights).sum(), ends, retain_graph=True) for x in (matrix, pairs))
    for one, other in zip(of_matrix, of_pairs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6 if same else 1e-9, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_an_image_with_itself_has_finite_gradients(kind, dtype):
    """Rounding lifts cosines above 1 here, in some of 64 images of 512 numbers a part."""
    g = torch.Generator().manual_seed(0)
    one = torch.randn(64, 4 * 512, generator=g)
    twice = torch.cat([one, one]).to(dtype).requires_grad_()
    distance = kind(GRID)(twice)
    distance.sum().backward()
    assert torch.isfinite(distance).all()
    assert torch.isfinite(twice.grad).all()
    if kind is StructuralDistance:
        assert distance.min() >= 0.001 * (1 - 1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_computed_in_float32(kind):
    a, half = embeddings(), embeddings(dtype=torch.bfloat16)
    exact = kind(GRID)(half.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, single = kind(GRID)(half), kind(GRID)(a)
        single.sum().backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact)
    torch.testing.assert_close(single, kind(GRID)(embeddings()))
    expected = embeddings()
    kind(GRID)(expected).sum().backward()
    torch.testing.assert_close(a.grad, expected.grad)
    found.sum().backward()
    assert half.grad.dtype == torch.bfloat16


def test_wrong_embeddings_and_settings_are_refused():
    with pytest.raises(UsageError, match="expected flattened maps of 4 x d numbers for a grid of 2x2, got 23"):
        StructuralSimilarity(GRID)(torch.zeros(2, 23))
    with pytest.raises(UsageError, match="expected flattened maps of 4 x 5 numbers"):
        StructuralSimilarity(GRID, dim=5)(torch.zeros(2, 24))
    with pytest.raises(UsageError, match="grid"):
        StructuralSimilarity((0, 4))
    with pytest.raises(UsageError, match="got 'even'"):
        StructuralDistance(marginals="even")
    with pytest.raises(UsageError, match="scheme"):
        PairMeasure(Matcher((torch.ones(2, 4), torch.ones(2, 4))))


def test_a_pooled_vector_of_the_models_own_comes_last():
    maps = embeddings(gradient=False).unflatten(1, (PARTS, DIM))
    own = FeatureMaps(maps, GRID, pooled=torch.randn(8, DIM))
    assert flattened(own).shape == (8, (PARTS + 1) * DIM)
    found = StructuralSimilarity(GRID, dim=DIM)(flattened(own))
    torch.testing.assert_close(found, PairMeasure(Matcher("cross_correlation")).matrix(own))
    assert (found - StructuralSimilarity(GRID, dim=DIM)(maps.flatten(1))).abs().max() > 0.01


@pytest.fixture
def solved(monkeypatch):
    """The number of plans of each call."""
    counts = []

    def counting(name):
        original = getattr(Matcher, name)

        def counted(self, *arguments):
            counts.append(len(arguments[2]))  # of (a, b, i, j), or of (products, i, j, weights)
            return original(self, *arguments)

        monkeypatch.setattr(Matcher, name, counted)

    counting("plans")
    counting("plans_of")
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_pairs_asked_for(kind, solved):
    a = embeddings()
    distance = kind(GRID)
    i, j = torch.tensor([0, 1, 5, 0]), torch.tensor([1, 0, 2, 1])
    with distance.only(i, j):
        sparse = distance(a)
    assert solved == [2]  # each unordered pair once
    whole = distance(a)
    assert solved == [2, 8 * 9 // 2]
    torch.testing.assert_close(sparse[i, j], whole[i, j], atol=1e-6, rtol=0)
    assert (sparse != 0).sum() == 3
    of_sparse, of_whole = (torch.autograd.grad(x[i, j].sum(), a, retain_graph=True)[0] for x in (sparse, whole))
    torch.testing.assert_close(of_sparse, of_whole, atol=1e-5, rtol=1e-4)
    with distance.only(i, j):
        sparse = distance(a, embeddings(1))
    assert solved[2:] == [3]
    torch.testing.assert_close(sparse[i, j], distance(a, embeddings(1))[i, j], atol=1e-6, rtol=0)


def test_only_pairs_that_there_are():
    distance, zero = StructuralDistance(GRID), torch.tensor([0])
    for i, j in ((zero, zero + 8), (zero - 9, zero)):
        with distance.only(i, j), pytest.raises(IndexError, match="for 8 images"):
            distance(embeddings())
    with pytest.raises(UsageError, match="expected as many i as j, got 1 and 2"), distance.only(zero, zero.repeat(2)):
        pass


def loss_of(kind, loss):
    """Each loss that takes a distance, with the options that it requires."""
    distance, width = kind(GRID), PARTS * DIM
    proxies = {"num_classes": 4, "embedding_size": width}
    numbers = {
        "HistogramLoss": {"n_bins": 20},
        "ManifoldLoss": {"l": width, "K": 3},
        "MarginLoss": {"num_classes": 4, "learn_beta": True},
        "NormalizedSoftmaxLoss": proxies,
        "ProxyAnchorLoss": proxies,
        "ProxyNCALoss": proxies,
        "RankedListLoss": {"margin": 0.4, "Tn": 1},
        "SoftTripleLoss": {**proxies, "centers_per_class": 2},
    }
    return getattr(losses, loss)(distance=distance, **numbers.get(loss, {}))


ANY_DISTANCE = [
    "ContrastiveLoss",
    "GeneralizedLiftedStructureLoss",
    "HistogramLoss",
    "IntraPairVarianceLoss",
    "LiftedStructureLoss",
    "ManifoldLoss",
    "MarginLoss",
    "MultiSimilarityLoss",
    "NCALoss",
    "NPairsLoss",
    "NTXentLoss",
    "NormalizedSoftmaxLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "RankedListLoss",
    "SoftTripleLoss",
    "SupConLoss",
    "TripletMarginLoss",
]
# The distance that each of these requires, if any.
REQUIRED = {
    "AngularLoss": "LpDistance",
    "ArcFaceLoss": "CosineSimilarity",
    "CircleLoss": "CosineSimilarity",
    "CosFaceLoss": "CosineSimilarity",
    "DynamicSoftMarginLoss": "LpDistance",
    "FastAPLoss": "LpDistance",
    "InstanceLoss": "CosineSimilarity",
    "LargeMarginSoftmaxLoss": "CosineSimilarity",
    "P2SGradLoss": "",
    "PNPLoss": "CosineSimilarity",
    "SignalToNoiseRatioContrastiveLoss": "SNRDistance",
    "SmoothAPLoss": "CosineSimilarity",
    "SphereFaceLoss": "CosineSimilarity",
    "SubCenterArcFaceLoss": "CosineSimilarity",
    "ThresholdConsistentMarginLoss": "CosineSimilarity",
    "TupletMarginLoss": "CosineSimilarity",
    "VICRegLoss": "",
}
WRAPPERS = {"BaseLossWrapper", "BaseMetricLossFunction", "CrossBatchMemory", "GenericPairLoss", "MultipleLosses"}
SIMILARITY_ONLY = {"HistogramLoss", "IntraPairVarianceLoss", "ManifoldLoss", "SoftTripleLoss"}
DISTANCE_ONLY = {"RankedListLoss"}
WITH_REFERENCE = [
    name
    for name in ANY_DISTANCE
    if not name.startswith(("Histogram", "Manifold", "NPairs", "Normalized", "Proxy", "RankedList", "SoftTriple"))
]


def cases(names):
    found = []
    for name in names:
        for kind in KINDS:
            wrong = SIMILARITY_ONLY if kind is StructuralDistance else DISTANCE_ONLY
            if name not in wrong:
                found.append(pytest.param(kind, name, id=f"{name}-{kind.__name__}"))
    return found


def assert_it_learns(loss, embedded):
    loss.backward()
    assert loss.ndim == 0 or loss.shape == (1,)
    assert torch.isfinite(loss)
    assert torch.isfinite(embedded.grad).all()
    assert embedded.grad.abs().sum() > 0


def test_every_loss_of_the_library_is_in_one_of_the_lists():
    known = {name for name, it in vars(losses).items() if inspect.isclass(it) and issubclass(it, torch.nn.Module)}
    assert known == {*ANY_DISTANCE, *REQUIRED, *WRAPPERS, "SelfSupervisedLoss"}, pytorch_metric_learning.__version__


@pytest.mark.parametrize(("kind", "name"), cases(ANY_DISTANCE))
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_losses_take_the_distances(kind, name):
    torch.manual_seed(0)
    a = embeddings()
    loss = loss_of(kind, name)
    assert_it_learns(loss(a) if name == "ManifoldLoss" else loss(a, LABELS), a)
    for parameter in loss.parameters():
        assert torch.isfinite(parameter.grad).all()
        assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize(("kind", "name"), cases(WITH_REFERENCE))
def test_losses_take_references(kind, name):
    torch.manual_seed(0)
    a, b = embeddings(), embeddings(1)
    loss = loss_of(kind, name)(a, LABELS, ref_emb=b, ref_labels=LABELS)
    loss.backward(retain_graph=True)
    assert_it_learns(loss, a)
    assert b.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("kind", "name"), cases(name for name in ANY_DISTANCE if name in losses.CrossBatchMemory.supported_losses())
)
def test_losses_take_a_memory_of_batches(kind, name):
    memory = losses.CrossBatchMemory(loss_of(kind, name), PARTS * DIM, memory_size=20)
    for batch in range(4):
        a = embeddings(batch)
        assert_it_learns(memory(a, LABELS), a)


@pytest.mark.parametrize(
    ("kind", "name"), cases(name for name in ANY_DISTANCE if name in losses.SelfSupervisedLoss.supported_losses())
)
def test_losses_take_two_views(kind, name):
    a, b = embeddings(), embeddings(1)
    assert_it_learns(losses.SelfSupervisedLoss(loss_of(kind, name))(a, b), a)


@pytest.mark.parametrize("name", [name for name, requires in REQUIRED.items() if requires])
def test_losses_that_require_a_distance_say_so(name):
    proxies = issubclass(getattr(losses, name), losses.LargeMarginSoftmaxLoss)
    numbers = {"num_classes": 4, "embedding_size": PARTS * DIM} if proxies else {}
    with pytest.raises(AssertionError, match=REQUIRED[name]):
        getattr(losses, name)(distance=StructuralSimilarity(GRID), **numbers)


MINERS = {
    "BatchEasyHardMiner": {"pos_strategy": "easy", "neg_strategy": "semihard"},
    "BatchHardMiner": {},
    "HDCMiner": {},
    "MultiSimilarityMiner": {},
    "PairMarginMiner": {},
    "TripletMarginMiner": {"type_of_triplets": "semihard"},
    "UniformHistogramMiner": {"num_bins": 5},
}


def test_every_miner_of_the_library_is_known():
    known = {name for name, it in vars(miners).items() if inspect.isclass(it)}
    assert known == {
        *MINERS, "AngularMiner", "BaseMiner", "DistanceWeightedMiner", "EmbeddingsAlreadyPackagedAsTriplets"
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MINERS)
def test_miners_take_the_distances(kind, name):
    torch.manual_seed(0)
    distance = kind(GRID)
    a = embeddings()
    numbers = MINERS[name]
    if name == "PairMarginMiner":
        numbers = (
            {"pos_margin": 0.9, "neg_margin": 0.1} if distance.is_inverted else {"pos_margin": 0.1, "neg_margin": 1.9}
        )
    mined = getattr(miners, name)(distance=distance, **numbers)(a, LABELS)
    assert all(len(index) for index in mined)
    with distance.only(torch.cat([mined[0], mined[-2 if len(mined) == 4 else 0]]), torch.cat([mined[1], mined[-1]])):
        assert_it_learns(losses.TripletMarginLoss(margin=1.0, distance=distance)(a, LABELS, mined), a)
    mined = getattr(miners, name)(distance=distance, **numbers)(a, LABELS, embeddings(1), LABELS)
    assert all(len(index) for index in mined)


@pytest.mark.parametrize("name", ["AngularMiner", "DistanceWeightedMiner"])
def test_miners_that_require_a_distance_say_so(name):
    with pytest.raises(AssertionError, match="LpDistance"):
        getattr(miners, name)(distance=StructuralDistance(GRID))


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning", None)
    monkeypatch.delitem(sys.modules, "diml.learning.losses")
    with pytest.raises(DimlError, match=r"pip install 'diml\[train\]'"):
        importlib.import_module("diml.learning.losses")


def test_names_are_loaded_when_they_are_used():
    code = "import sys, diml.learning; assert not {'torch', 'pytorch_metric_learning'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'TripletLoss'"):
        _ = diml.learning.TripletLoss


@pytest.mark.long
def test_the_distributed_wrapper_of_the_library(tmp_path, free_port):
    torch.save(embeddings(dtype=torch.float64, gradient=False), tmp_path / "maps.pt")
    code = Path(__file__).with_name("wrapped_process.py")
    started = [subprocess.Popen([sys.executable, code, str(rank), str(free_port), tmp_path]) for rank in (0, 1)]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for kind in KINDS:
        whole = torch.load(tmp_path / "maps.pt", weights_only=True).requires_grad_()
        loss = losses.NTXentLoss(distance=tight(kind))(whole, LABELS)
        loss.backward()
        found, gradients = zip(*(kept[f"{kind.__name__}-False"] for kept in ranks), strict=True)
        # The wrapper multiplies by the number of processes, over which DDP then takes the mean.
        torch.testing.assert_close(torch.stack(found), (2 * loss.detach()).expand(2), atol=1e-9, rtol=0)
        torch.testing.assert_close(torch.cat(gradients), 2 * whole.grad, atol=1e-6, rtol=1e-6)
        for kept in ranks:
            _, gradient = kept[f"{kind.__name__}-True"]
            assert torch.isfinite(gradient).all()
            assert gradient.abs().sum() > 0


@pytest.fixture
def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
