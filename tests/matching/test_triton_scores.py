"""The Triton backend against the reference in float64.

On a GPU these tests run on it. Elsewhere they run through Triton's interpreter, which must be asked for before Triton
is imported: so in a process of its own, started by the two tests at the end. The interpreter shows the arithmetic, the
masks and the indices; it computes every product in float32, cannot multiply bfloat16, and knows nothing of tensor
cores, registers or time.
"""

import itertools
import os
import subprocess
import sys

import pytest
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, prepare, top_k
from diml.matching.dustbin import dustbin_plan

pytest.importorskip("triton")

from diml.matching.kernels import BackendSettings, PartWeights
from diml.matching.kernels import triton_scores as backend

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED or not torch.cuda.is_available() else "cuda"
runs = pytest.mark.skipif(
    not INTERPRETED and DEVICE == "cpu", reason="needs a GPU, or Triton's interpreter: see the last tests"
)
on_a_gpu = pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
SCHEMES = ["uniform", "cross_correlation"]
TRANSPORTS = ["full", "one-sided", "dustbin"]
# Few iterations, for what does not depend on how many there are: each takes the interpreter long.
BLUNT = 0.3
slow = pytest.mark.slow


def maps(seed, n=3, parts=16, dim=40, dtype=torch.float32, own=False):
    g = torch.Generator().manual_seed(seed)
    local = torch.randn(n, parts, dim, generator=g, dtype=torch.float64) + 0.3
    pooled = torch.randn(n, dim, generator=g, dtype=torch.float64).to(DEVICE, dtype) if own else None
    return FeatureMaps(local.to(DEVICE, dtype), (1, parts), pooled)


def settings(scheme="uniform", eps=0.05, tolerance=1e-6, max_iterations=5000, **more):
    return BackendSettings(scheme=scheme, eps=eps, tolerance=tolerance, max_iterations=max_iterations, **more)


def weights(seed, a, b):
    """Some parts weigh nothing; the last image of a has all its weight on its first part."""
    g = torch.Generator().manual_seed(seed)
    both = []
    for m in (a, b):
        weight = torch.rand(len(m), m.parts, generator=g, dtype=torch.float64) - 0.3
        weight[:, 0] = 0.2
        both.append(weight.clamp(min=0))
    both[0][-1, 1:] = 0
    return PartWeights(*((w / w.sum(dim=1, keepdim=True)).to(DEVICE, torch.float32) for w in both))


def locally(a, b, how, given=None):
    """Local similarities (n, m, r_a, r_b) and marginals (n, m, r_a), (n, m, r_b) of all pairs in float64."""
    unit_a, unit_b, pooled_a, pooled_b = (
        torch.nn.functional.normalize(x.double(), dim=-1) for x in (a.local, b.local, a.pooled, b.pooled)
    )
    similarity = torch.einsum("nrd,msd->nmrs", unit_a, unit_b)
    along = torch.einsum("nrd,md->nmr", unit_a, pooled_b), torch.einsum("msd,nd->nms", unit_b, pooled_a)
    marginals = []
    for side, correlation in enumerate(along):
        plain = torch.full_like(correlation, 1 / correlation.shape[-1])
        if given is not None:
            plain = (given.b[None] if side else given.a[:, None]).double().expand_as(correlation)
        if how.scheme == "cross_correlation":
            mass = plain * correlation.clamp(min=0)
            total = mass.sum(dim=-1, keepdim=True)
            plain = torch.where(total > 0, mass / total.where(total > 0, 1), plain)
        marginals.append(plain)
    return similarity, *marginals


def naively(a, b, how, given=None, steps=3000):
    """Structural similarities of all pairs in float64, by a fixed number of iterations without any stopping rule."""
    similarity, mu_a, mu_b = locally(a, b, how, given)
    price = how.bin_similarity if how.transport == "dustbin" else 0.0
    most = 1.0 if how.transport == "dustbin" else float("inf")
    kernel = ((similarity - price) / how.eps).exp()
    v = mu_b if how.transport == "one-sided" else torch.ones_like(mu_b)
    for _ in range(1 if how.transport == "one-sided" else steps):
        u = (mu_a / (kernel * v[..., None, :]).sum(dim=-1)).clamp(max=most)
        if how.transport != "one-sided":
            v = (mu_b / (kernel * u[..., None]).sum(dim=-2)).clamp(max=most)
    plan = u[..., None] * kernel * v[..., None, :]
    return (plan * (similarity - price)).sum(dim=(-1, -2)) + price


def reference(a, b, how, i=None, j=None, tolerance=1e-9):
    """All pairs (or those of i and j) in float64."""
    a, b = (FeatureMaps(m.local.double(), m.grid, m.pooled.double()) for m in (a, b))
    if i is None:
        i, j = (index.flatten() for index in torch.meshgrid(torch.arange(len(a)), torch.arange(len(b)), indexing="ij"))
    return Matcher(how.scheme, eps=how.eps, tolerance=tolerance, max_iterations=100_000).pairs(a, b, i, j)


def agree(scores, expected, within=1e-5):
    for name in ("structural", "pooled"):
        got, wanted = getattr(scores, name).flatten().double(), getattr(expected, name)
        torch.testing.assert_close(got, wanted, atol=within, rtol=0, msg=lambda m, name=name: f"{name}: {m}")
    assert scores.structural.dtype == torch.float32
    assert scores.iterations.dtype == torch.int32
    assert scores.converged.dtype == torch.bool


QUICK = {
    (16, 16, torch.float32, "cross_correlation"),
    (1, 1, torch.float16, "uniform"),
    (9, 4, torch.float16, "cross_correlation"),
    (25, 16, torch.float32, "uniform"),
}


@runs
@pytest.mark.parametrize(
    ("parts_a", "parts_b", "dtype", "scheme"),
    [
        pytest.param(*case, marks=() if case in QUICK else slow)
        for shape in ((16, 16), (1, 1), (9, 4), (25, 16))
        for case in itertools.product(*([side] for side in shape), (torch.float32, torch.float16), SCHEMES)
    ],
)
def test_a_matrix_agrees_with_float64(scheme, dtype, parts_a, parts_b):
    # 5 images of b: the last tile is half empty. 40 numbers: the second block of float32 is not full.
    a, b, how = maps(0, 3, parts_a, dtype=dtype), maps(1, 5, parts_b, dtype=dtype), settings(scheme)
    scores = backend.score_matrix(a, b, how)
    assert scores.structural.shape == (3, 5)
    agree(scores, reference(a, b, how))
    assert scores.converged.all()


@runs
@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(("parts_a", "parts_b"), [(49, 49), (64, 64), (16, 64), (64, 1), (36, 17)])
def test_larger_grids_agree_with_float64(scheme, dtype, parts_a, parts_b):
    a, b, how = maps(0, 2, parts_a, 130, dtype), maps(1, 2, parts_b, 130, dtype), settings(scheme)
    agree(backend.score_matrix(a, b, how), reference(a, b, how))
    i, j = torch.tensor([1, 0, 1]), torch.tensor([0, 0, 1])
    agree(backend.score_pairs(a, b, i, j, how), reference(a, b, how, i, j))


@runs
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 2), (2, 4), (4, 2), (4, 4), (8, 1), (8, 4)])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_tile_changes_no_score(shape, scheme):
    a, b, how = maps(2, 5, 6, 16), maps(3, 3, 16, 16), settings(scheme, BLUNT)
    agree(backend.score_matrix(a, b, how, tile=backend.TileShape(*shape)), reference(a, b, how))


@runs
@pytest.mark.parametrize("scheme", SCHEMES)
def test_lists_of_pairs_and_shortlists(scheme):
    a, b, how = maps(4, 3), maps(5, 7, 9), settings(scheme, BLUNT)
    i, j = torch.tensor([2, 0, 0, 2, 1]), torch.tensor([6, 0, 3, 6, 1])
    scores = backend.score_pairs(a, b, i, j, how)
    assert scores.pooled.shape == (5,)
    agree(scores, reference(a, b, how, i, j))
    shortlist = torch.tensor([[6, 0, 3, 3, 5], [1, 2, 4, 0, 6], [0, 1, 2, 3, 4]])
    scores = backend.score_shortlists(a, b, shortlist, how)
    assert scores.iterations.shape == (3, 5)
    agree(scores, reference(a, b, how, torch.arange(3).repeat_interleave(5), shortlist.flatten()))


@runs
def test_indices_are_checked():
    a, how = maps(22, parts=4), settings(eps=BLUNT)
    one = torch.tensor([0])
    for wrong in (3, -4):
        with pytest.raises(IndexError, match="3 images"):
            backend.score_pairs(a, a, one, torch.tensor([wrong]), how)
        with pytest.raises(IndexError, match="3 images"):
            backend.bound_pairs(a, a, torch.tensor([wrong]), one, how)
    with pytest.raises(IndexError, match="3 images"):
        backend.score_shortlists(a, a, torch.tensor([[0], [1], [3]]), how)
    last = backend.score_pairs(a, a, torch.tensor([-1]), torch.tensor([-3]), how)
    agree(last, reference(a, a, how, torch.tensor([2]), one))


@runs
@pytest.mark.parametrize("scheme", [pytest.param("uniform", marks=slow), "cross_correlation"])
@pytest.mark.parametrize(("parts_a", "parts_b"), [(9, 5), (1, 1)])
def test_bounds_are_those_of_the_cpu(scheme, parts_a, parts_b):
    from diml.matching.kernels import cpu_scores

    a, b, how = maps(23, 2, parts_a), maps(24, 2, parts_b), settings(scheme)
    i, j = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    bounds, pooled = backend.bound_pairs(a, b, i, j, how)
    rows_a, rows_b = prepare(a).rows.cpu(), prepare(b).rows.cpu()
    expected, expected_pooled = cpu_scores.bound_pairs(rows_a, rows_b, i, j, how)
    torch.testing.assert_close(bounds.cpu(), expected, atol=2e-6, rtol=0)
    torch.testing.assert_close(pooled.cpu(), expected_pooled, atol=2e-6, rtol=0)
    assert (backend.score_pairs(a, b, i, j, how).structural <= bounds + 2e-6).all()


class TestMatcher:
    """The backend as `Matcher` uses it."""

    @pytest.fixture
    def matcher(self, monkeypatch):
        monkeypatch.setattr("diml.matching.dispatch.choose_backend", lambda device: backend)
        monkeypatch.setattr("diml.matching.unit_maps.KEEPS_HALF", ("cpu", "cuda"))
        return Matcher("cross_correlation", eps=BLUNT, tolerance=1e-6)

    @runs
    def test_half_precision_maps_reach_it_as_they_are(self, matcher, monkeypatch):
        a, b = maps(25, dtype=torch.float16), maps(26, 5, 9, dtype=torch.float16)
        kept = []
        real = backend._arguments
        monkeypatch.setattr(
            backend, "_arguments", lambda a, b, *rest, **more: kept.append((a, b)) or real(a, b, *rest, **more)
        )
        expected = reference(a, b, settings("cross_correlation", BLUNT)).similarity.reshape(3, 5)
        close = {"atol": 1e-5, "rtol": 0, "check_dtype": False}
        torch.testing.assert_close(matcher.similarity(a, b), expected, **close)
        shortlist = torch.tensor([[4, 0], [1, 1], [3, 2]], device=DEVICE)
        torch.testing.assert_close(matcher.rerank(a, b, shortlist), expected.gather(1, shortlist), **close)
        scores = matcher.pairs(a, b, shortlist[:, 0] % 3, shortlist[:, 1])
        assert scores.converged.all()
        assert len(kept) == 3
        for rows_a, rows_b in kept:
            assert rows_a.parts.data_ptr() == a.local.data_ptr()
            assert rows_b.parts.dtype == torch.float16
            assert rows_b.parts.data_ptr() == b.local.data_ptr()

    @runs
    @slow
    def test_what_it_hands_back_is_solved(self, matcher):
        a, b = maps(27, 2, 4, 64, torch.float16), maps(28, 3, 4, 64, torch.float16)
        a.local[0, 1] = -a.local[0, 0]
        b.local[1] = a.local[0]
        matcher = matcher.replace(eps=0.02, tolerance=1e-5, max_iterations=5000)
        i, j = torch.tensor([0, 1, 0]), torch.tensor([1, 1, 0])
        assert (backend.score_pairs(a, b, i, j, settings("cross_correlation", eps=0.02)).iterations < 0).any()
        found = matcher.pairs(a, b, i, j)
        expected = reference(a, b, settings("cross_correlation", eps=0.02), i, j)
        assert (found.iterations > 0).all()
        torch.testing.assert_close(found.similarity.double(), expected.similarity, atol=1e-4, rtol=0)

    @runs
    @pytest.mark.parametrize(
        "transport", [pytest.param("full", marks=slow), "one-sided", pytest.param("dustbin", marks=slow)]
    )
    def test_weights_of_maps_reach_it(self, matcher, transport, monkeypatch):
        a, b = maps(34, 2, 4), maps(35, 3, 9)
        given = weights(36, a, b)
        a, b = (FeatureMaps(m.local, m.grid, weights=w) for m, w in zip((a, b), given, strict=True))
        matcher = matcher.replace(transport=transport, bin_similarity=0.2)
        shortlist = torch.tensor([[2, 0], [1, 1]], device=DEVICE)
        found = matcher.similarity(a, b), matcher.similarity(a, a), matcher.rerank(a, b, shortlist)
        best = top_k(matcher, a, b, 2).indices
        monkeypatch.setattr("diml.matching.dispatch.choose_backend", lambda device: None)
        close = {"atol": 1e-5, "rtol": 0}
        torch.testing.assert_close(found[0], matcher.similarity(a, b), **close)
        torch.testing.assert_close(found[1], matcher.similarity(a, a), **close)
        torch.testing.assert_close(found[2], matcher.rerank(a, b, shortlist), **close)
        assert torch.equal(best, top_k(matcher, a, b, 2).indices)

    @runs
    @slow
    def test_the_best_by_bounds(self, matcher):
        a, b = maps(29, 2, 4, dtype=torch.float16), maps(30, 20, 4, dtype=torch.float16)
        found = top_k(matcher, a, b, 3)
        scores = matcher.similarity(a, b)
        assert torch.equal(found.indices, scores.sort(dim=1, descending=True, stable=True).indices[:, :3])

    @runs
    def test_a_set_with_itself(self, matcher):
        a, matcher = maps(31, 3, 4, dtype=torch.float16), matcher.replace(tolerance=1e-3)
        whole = matcher.similarity(a, a)
        assert torch.equal(whole, whole.mT)
        tiles = list(matcher.tiles(a, a, side=2))
        assert len(tiles) == 3
        for tile in tiles:
            torch.testing.assert_close(tile.similarity, whole[tile.rows, tile.columns], atol=1e-6, rtol=0)

    @runs
    def test_float64_and_plans_take_the_reference(self, matcher):
        a, b = maps(32, dtype=torch.float16), maps(33, dtype=torch.float64)
        one = torch.tensor([1])
        assert matcher.pairs(a, b, one, one).similarity.dtype == torch.float64
        plan = matcher.plans(a, a, one, one).plan
        assert plan.dtype == torch.float32
        assert plan.sum() == pytest.approx(1, abs=1e-5)


@runs
def test_each_pair_stops_by_itself():
    """At a coarse tolerance the number of steps shows in the score, so a pair must not continue with its neighbours."""
    a, b, how = maps(6, 2), maps(7, 4), settings("cross_correlation", eps=0.03, tolerance=0.02)
    a.local[0], b.local[1] = a.local[0] * 0.2 + 1, b.local[1] * 0.2 + 1
    scores, expected = backend.score_matrix(a, b, how), reference(a, b, how, tolerance=0.02)
    assert len(set(expected.iterations.tolist())) > 2
    assert scores.iterations.flatten().tolist() == expected.iterations.tolist()
    agree(scores, expected)
    stopped = backend.score_matrix(a, b, settings(tolerance=0, max_iterations=3))
    assert (stopped.iterations == 3).all()
    assert not stopped.converged.any()


@runs
def test_at_the_working_tolerance():
    a, b, how = maps(8), maps(9), settings("cross_correlation", tolerance=1e-3)
    agree(backend.score_matrix(a, b, how), reference(a, b, how), within=5e-4)


@runs
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_no_mass_and_no_length(scheme, dtype):
    a, b, how = maps(10, 2, dtype=dtype), maps(11, 3, dtype=dtype), settings(scheme)
    a.local[0] = a.local[0].abs() + 0.1
    b.local[0] = -b.local[0].abs() - 0.1  # no correlation of the first pair is positive
    b.local[1] = 0  # a map of zeros
    b.local[2, :7] = 0
    scores = backend.score_matrix(a, b, how)
    agree(scores, reference(a, b, how))
    assert scores.pooled[0, 0] < 0
    assert (scores.structural[:, 1] == 0).all()


@runs
def test_a_set_with_itself_is_solved_once_per_pair():
    a, how = maps(12, 5), settings()
    a.local[3] = a.local[1]
    scores = backend.score_matrix(a, a, how)
    agree(scores, reference(a, a, how))
    for matrix in (scores.structural, scores.pooled, scores.iterations, scores.converged):
        assert torch.equal(matrix, matrix.T)
    assert (scores.structural.diagonal() < 1).all()
    torch.testing.assert_close(scores.structural[1, 3], scores.structural[1, 1], atol=1e-6, rtol=0)


@runs
def test_pairs_that_float32_cannot_solve_are_handed_back():
    a, b, how = maps(13, 2, 4, 64), maps(14, 2, 4, 64), settings(eps=0.02)
    a.local[0, 1] = -a.local[0, 0]
    b.local[1] = a.local[0]  # cosines from -1 to 1, 100 eps apart
    scores, expected = backend.score_matrix(a, b, how), reference(a, b, how)
    bad = torch.tensor([[False, True], [False, False]], device=DEVICE)
    assert (scores.iterations[bad] == -1).all()
    assert not scores.converged[bad].any()
    assert torch.equal(scores.structural.isnan(), bad)
    good = ~bad.flatten()
    torch.testing.assert_close(scores.structural[~bad].double(), expected.structural[good], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores.pooled.flatten().double(), expected.pooled, atol=1e-5, rtol=0)
    b.local[0, 2, 5] = float("nan")
    for eps in (0.02, 0.05):
        scores = backend.score_matrix(a, b, settings(eps=eps))
        assert (scores.iterations[:, 0] == -1).all()
        assert not scores.converged[:, 0].any()
        assert scores.converged[1, 1]


@runs
def test_rows_come_as_maps_or_as_tensors():
    a, b, how = maps(15, own=True), maps(16, own=True), settings("cross_correlation", BLUNT)
    expected = reference(a, b, how)  # the model's own pooled vectors
    agree(backend.score_matrix(a, b, how), expected)
    rows_a, rows_b = prepare(a).rows, prepare(b).rows
    agree(backend.score_matrix(rows_a, rows_b, how), expected)
    agree(backend.score_matrix(backend.ScaledMaps.of(rows_a), b, how), expected)
    # Unit vectors in half precision have been rounded before they are passed on.
    agree(backend.score_matrix(rows_a.half(), rows_b.half(), how), expected, within=5e-4)
    half = FeatureMaps(a.local.half(), a.grid, a.pooled)
    agree(backend.score_matrix(half, b, how), reference(half, b, how))


@runs
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("scheme", "weighted"),
    [
        ("cross_correlation", True),
        pytest.param("cross_correlation", False, marks=slow),
        pytest.param("uniform", True, marks=slow),
        pytest.param("uniform", False, marks=slow),
    ],
)
def test_weights_and_transports(transport, scheme, weighted):
    a, b = maps(40, 3, 4, own=True), maps(41, 5, 9, own=True)
    how = settings(scheme, 0.1, transport=transport, bin_similarity=0.2)
    given = weights(42, a, b) if weighted else None
    expected = naively(a, b, how, given)
    close = {"atol": 1e-5, "rtol": 0, "check_dtype": False}
    scores = backend.score_matrix(a, b, how, given)
    torch.testing.assert_close(scores.structural, expected, **close)
    assert scores.converged.all()
    if transport == "one-sided":
        assert (scores.iterations == 1).all()
    i, j = torch.tensor([2, 0]), torch.tensor([4, 1])
    torch.testing.assert_close(backend.score_pairs(a, b, i, j, how, given).structural, expected[i, j], **close)
    shortlist = torch.tensor([[4, 0], [1, 2], [3, 0]])
    found = backend.score_shortlists(a, b, shortlist, how, given).structural
    torch.testing.assert_close(found, expected.gather(1, shortlist.to(DEVICE)), **close)
    bounds, pooled = backend.bound_pairs(a, b, i, j, how, given)
    assert (expected[i, j] <= bounds + 1e-6).all()
    torch.testing.assert_close(pooled, scores.pooled[i, j], atol=1e-6, rtol=0)
    similarity, mu_a, mu_b = (x[i, j] for x in locally(a, b, how, given))
    best = similarity.amax(dim=1).clamp(min=how.bin_similarity if transport == "dustbin" else -1)
    formula = (mu_a * similarity.amax(dim=2)).sum(1) if transport == "one-sided" else (mu_b * best).sum(1)
    torch.testing.assert_close(bounds, formula, atol=2e-6, rtol=0, check_dtype=False)


@runs
@pytest.mark.parametrize("transport", [pytest.param("full", marks=slow), "one-sided", "dustbin"])
def test_small_eps_and_weights_of_zero(transport):
    """Where the largest similarity of each pair is searched, and parts without weight stand beside the best ones."""
    a, b = maps(43, 2, 4), maps(44, 3, 4)
    b.local[1, 1:3] = a.local[0, 2:]
    how, given = settings(eps=0.02, tolerance=1e-5, transport=transport, bin_similarity=0.5), weights(45, a, b)
    given.b[1] = torch.tensor([1.0, 0, 0, 0])
    scores = backend.score_matrix(a, b, how, given)
    assert scores.converged.all()
    torch.testing.assert_close(scores.structural.double(), naively(a, b, how, given), atol=3e-5, rtol=0)


@runs
def test_one_sided_matching_asks_from_the_side_of_a():
    a, how = maps(46, 3, 4), settings(eps=0.1, transport="one-sided")
    a.local[1] = a.local[0, :1]  # a part of the first image, four times
    whole = backend.score_matrix(a, a, how).structural
    torch.testing.assert_close(whole.double(), naively(a, a, how), atol=1e-5, rtol=0)
    assert whole[1, 0] > 0.9 > whole[0, 1]  # all of the second is in the first, not the other way round


@runs
@pytest.mark.parametrize("transport", ["full", "dustbin"])
def test_a_set_with_itself_is_symmetric_under_one_set_of_weights(transport):
    a, how = maps(47, 3, 4), settings(eps=BLUNT, transport=transport)
    given = weights(48, a, a)
    whole = backend.score_matrix(a, a, how, PartWeights(given.b, given.b.clone())).structural
    assert torch.equal(whole, whole.mT)
    expected = naively(a, a, how, PartWeights(given.b, given.b))
    torch.testing.assert_close(whole.double(), expected, atol=1e-5, rtol=0)
    mixed = backend.score_matrix(a, a, how, given).structural
    torch.testing.assert_close(mixed.double(), naively(a, a, how, given), atol=1e-5, rtol=0)
    assert (mixed - mixed.mT).abs().max() > 1e-3


@runs
@slow
def test_a_dustbin_stops_like_the_reference():
    a, b = maps(49, 2, 9), maps(50, 4, 9)
    a.local[0], b.local[1] = a.local[0] * 0.2 + 1, b.local[1] * 0.2 + 1
    how = settings(eps=0.03, tolerance=1e-4, transport="dustbin", bin_similarity=0.4)
    similarity, mu_a, mu_b = locally(a, b, how)
    expected = dustbin_plan(similarity, mu_a, mu_b, 0.4, 0.03, tolerance=1e-4)
    scores = backend.score_matrix(a, b, how)
    assert len(set(expected.iterations.flatten().tolist())) > 2
    assert scores.iterations.tolist() == expected.iterations.tolist()
    stopped = backend.score_matrix(a, b, settings(tolerance=-1, max_iterations=2, transport="dustbin"))
    assert (stopped.iterations == 2).all()
    assert not stopped.converged.any()


@runs
def test_the_price_of_the_bin_counts_in_the_range_of_float32():
    a = maps(51, 2, 4, 64)
    a.local[:] = a.local * 0.1 + 1  # all alike
    full, bin_far = settings(eps=0.02), settings(eps=0.02, transport="dustbin", bin_similarity=-1.0)
    assert (backend.score_matrix(a, a, full).iterations > 0).all()
    assert (backend.score_matrix(a, a, bin_far).iterations == -1).all()
    assert backend.score_matrix(a, a, bin_far).structural.isnan().all()
    a.local[0, 1] = -a.local[0, 0]
    b = a[:1]
    one_sided = settings(eps=0.02, transport="one-sided")
    assert not backend.score_matrix(b, b, one_sided).converged.any()
    near = settings(eps=0.05, transport="dustbin", bin_similarity=-1.0)
    scores = backend.score_matrix(a, b, near)
    torch.testing.assert_close(scores.structural.double(), naively(a, b, near), atol=1e-5, rtol=0)
    a.local[0, 2, 5] = float("nan")
    assert (backend.score_matrix(a[:1], a[1:], near).iterations == -1).all()


@runs
def test_nothing_to_match():
    a, how = maps(17), settings()
    assert backend.score_matrix(a, a[:0], how).structural.shape == (3, 0)
    none = torch.zeros(0, dtype=torch.int64)
    assert backend.score_pairs(a, a, none, none, how).iterations.shape == (0,)
    assert backend.score_shortlists(a, a, none.reshape(3, 0), how).converged.shape == (3, 0)


def test_what_the_kernel_does_not_do():
    assert backend.unsupported(64, 1, torch.float16, settings()) is None
    assert "at most 64" in backend.unsupported(16, 65, torch.float32, settings())
    assert "float64" in backend.unsupported(16, 16, torch.float64, settings())
    assert "'partial'" in backend.unsupported(16, 16, torch.float32, settings(transport="partial"))
    with pytest.raises(UsageError, match=r"expected weights of shape \(3, 16\).*\(3, 4\)"):
        backend.score_matrix(maps(18), maps(18), settings(), PartWeights(torch.ones(3, 4) / 4, torch.ones(3, 16) / 16))
    with pytest.raises(UsageError, match="at most 64"):
        backend.score_matrix(maps(18, 1, 65), maps(18, 1, 65), settings())
    with pytest.raises(UsageError, match="float64"):
        backend.score_matrix(maps(18, dtype=torch.float64), maps(18), settings())
    with pytest.raises(UsageError, match="dim 40"):
        backend.score_matrix(maps(18), maps(18, dim=41), settings())


def test_tiles_fit_the_lanes_of_a_warp():
    for parts_a in (1, 16, 17, 64):
        for parts_b in (4, 32, 64):
            for tile in backend.tiles(parts_a, parts_b):
                assert 8 % tile.images_a == 0
                assert 4 % tile.images_b == 0


@on_a_gpu
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_many_pairs_on_the_gpu(scheme, dtype):
    a, b, how = maps(20, 200, 16, 128, dtype), maps(21, 300, 16, 128, dtype), settings(scheme)
    expected = reference(a, b, how)
    for tile in backend.tiles(16, 16):
        agree(backend.score_matrix(a, b, how, tile=tile), expected)
    assert backend.pairs_per_second(a, b, how, seconds=0.1) > 0


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="the interpreter does not compile")
@pytest.mark.parametrize(
    ("parts", "cross", "narrow", "transport", "weighted", "dtype"),
    [
        pytest.param(*case, dtype, marks=() if dtype == usual else pytest.mark.long)
        for *case, usual in (
            (16, True, True, "full", False, "fp16"),
            (16, False, False, "full", True, None),
            (49, True, False, "full", False, None),
            (16, True, False, "dustbin", True, "bf16"),
            (16, False, True, "one-sided", True, "fp32"),
        )
        for dtype in ("fp16", "bf16", "fp32")
    ],
)
def test_it_compiles_for_an_h200_without_one(dtype, parts, cross, narrow, transport, weighted, tmp_path, monkeypatch):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from diml.matching.kernels.triton_kernels import listed, matrix

    padded = 16 if parts == 16 else 64
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"R_A": parts, "R_B": parts, "PAD_A": padded, "PAD_B": padded, "CROSS": cross, "NARROW": narrow}
    constants |= {"WEIGHTED": weighted, "TRANSPORT": transport}
    constants |= {} if weighted else {"weights_a": None, "weights_b": None}
    constants |= {
        "BLOCK": 32,
        "EVEN": True,
        "PRECISION": "tf32x3" if dtype == "fp32" else "ieee",
        "UPPER": True,
        "BOUNDS": False,
    }
    types = dict.fromkeys(("parts_a", "parts_b"), f"*{dtype}") | {"iterations": "*i32", "converged": "*i8"}
    floats = ("scale_a", "scale_b", "pooled_a", "pooled_b", "weights_a", "weights_b", "structural", "pooled")
    types |= dict.fromkeys(floats, "*fp32") | dict.fromkeys(("index_a", "candidates"), "*i64")
    types |= dict.fromkeys(("per_eps", "tolerance", "bin_similarity"), "fp32")
    images = backend.tiles(parts, parts)[0]
    for kernel, shape in ((matrix, (images.images_a, images.images_b)), (listed, (1, images.images_b))):
        here = constants | {"IMAGES_A": shape[0], "IMAGES_B": shape[1], "LISTED_A": False, "LISTED_B": kernel is listed}
        here = {name: value for name, value in here.items() if name in kernel.arg_names}
        signature = {name: "constexpr" if name in here else types.get(name, "i32") for name in kernel.arg_names}
        source = ASTSource(kernel, signature, constexprs=here)
        options = {"num_warps": 1, "num_stages": 2, "enable_fp_fusion": True}
        built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        assert built.metadata.shared < 48 * 1024  # several programs share a multiprocessor
        assert "mma.sync" in built.asm["ptx"]


def _interpreted(marks):
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", marks, __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert "passed" in run.stdout


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED or DEVICE == "cuda", reason="runs the others through the interpreter")
def test_the_arithmetic_through_the_interpreter():
    _interpreted("not slow")


@pytest.mark.long
@pytest.mark.skipif(INTERPRETED or DEVICE == "cuda", reason="runs the others through the interpreter")
def test_the_slow_ones_through_the_interpreter():
    _interpreted("slow")
