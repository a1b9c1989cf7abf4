"""The backends against float64: the same scores for any shapes, marginals and other pairs in the call."""

import subprocess
import sys
import warnings

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher, UnitMaps, prepare, rerank, similarity, top_k
from diml.matching import kernels as kernels_module
from diml.matching.kernels import BackendSettings, choose_backend, cpu_scores

SCHEMES = ("uniform", "cross_correlation")
CPU = torch.device("cpu")


def maps(seed, n, parts=16, dim=32, likeness=1.0, dtype=torch.float32):
    """Maps that share a component, as those of real images do; with likeness 0 only noise is left."""
    g = torch.Generator().manual_seed(seed)
    common = torch.randn(1, 1, dim, generator=g) + torch.randn(n, 1, dim, generator=g)
    return FeatureMaps((likeness * common + torch.randn(n, parts, dim, generator=g)).to(dtype), (1, parts))


def every_pair(a, b):
    return torch.arange(len(a)).repeat_interleave(len(b)), torch.arange(len(b)).repeat(len(a))


def exact(a, b, i, j, scheme, eps=0.05, tolerance=1e-9):
    matcher = Matcher(scheme, eps=eps, tolerance=tolerance, max_iterations=20_000)
    return matcher.pairs(a.to(torch.float64), b.to(torch.float64), i, j)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    shape=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 70)),
    scheme=st.sampled_from(SCHEMES),
    likeness=st.sampled_from([0.0, 0.3, 1.0, 3.0]),
    dtype=st.sampled_from([torch.float32, torch.float16]),
    tolerance=st.sampled_from([1e-3, 1e-6]),
    limit=st.sampled_from([5, 1000]),
    seed=st.integers(0, 2**20),
)
@example((196, 196, 24), "cross_correlation", 1.0, torch.float16, 1e-3, 1000, 0)
@example((1, 196, 16), "uniform", 0.3, torch.float32, 1e-6, 1000, 1)
@example((49, 64, 128), "cross_correlation", 0.3, torch.float32, 1e-6, 1000, 2)
def test_agrees_with_float64(after_iterations, shape, scheme, likeness, dtype, tolerance, limit, seed):
    """For any maps, a score is that of float64 after the same number of iterations, or after one more."""
    r_a, r_b, dim = shape
    a, b = maps(seed, 3, r_a, dim, likeness, dtype), maps(seed + 1, 6, r_b, dim, likeness, dtype)
    i, j = every_pair(a, b)
    found = Matcher(scheme, tolerance=tolerance, max_iterations=limit).pairs(a, b, i, j)
    structural, _, rounding = after_iterations(a, b, i, j, scheme, found.iterations + 1)
    pooled = exact(a, b, i, j, scheme, tolerance=1.0).pooled  # which no plan changes
    assert ((found.structural - structural).abs() < rounding).all()
    assert (found.pooled - pooled).abs().max() < 1e-6
    assert ((found.similarity - (structural + pooled) / 2).abs() < rounding).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("likeness", [0.0, 0.3, 1.0, 3.0])
def test_stops_near_the_solution(likeness, scheme, dtype):
    """Maps of 128 numbers per part; for noise in few dimensions a plan within 1e-3 may be further from the solution."""
    a, b = maps(40, 6, 16, 128, likeness, dtype), maps(41, 40, 16, 128, likeness, dtype)
    i, j = every_pair(a, b)
    expected = exact(a, b, i, j, scheme)
    for tolerance, allowed in ((1e-6, 1e-5), (1e-3, 5e-4)):
        found = Matcher(scheme, tolerance=tolerance).pairs(a, b, i, j)
        assert found.converged.all()
        assert (found.structural - expected.structural).abs().max() < allowed


def test_noise_may_stop_further_away():
    """The documented case of noise in two numbers per part: float64 is no closer to the solution."""
    a, b = maps(7, 3, 27, 2, 0.0), maps(8, 6, 22, 2, 0.0)
    i, j = every_pair(a, b)
    solution = exact(a, b, i, j, "uniform").structural
    stopped = exact(a, b, i, j, "uniform", tolerance=1e-3)
    assert stopped.converged.all()
    assert (stopped.structural - solution).abs().max() > 5e-4
    assert 5e-4 < (Matcher("uniform").pairs(a, b, i, j).structural - solution).abs().max() < 1e-3


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_pair_does_not_depend_on_its_company(scheme):
    a, b = maps(0, 7, 9), maps(1, 40, 12)
    matcher = Matcher(scheme)
    i, j = every_pair(a, b)
    together = matcher.pairs(a, b, i, j)
    shuffled = torch.randperm(len(i), generator=torch.Generator().manual_seed(0))
    again = matcher.pairs(a, b, i[shuffled], j[shuffled])
    alone = torch.stack([matcher.pairs(a, b, i[k : k + 1], j[k : k + 1]).structural[0] for k in range(len(i))])
    assert torch.equal(together.structural[shuffled], again.structural)
    assert torch.equal(together.structural, alone)
    assert torch.equal(together.iterations[shuffled], again.iterations)
    matrix = cpu_scores.score_matrix(prepare(a).rows, prepare(b).rows, BackendSettings(scheme))
    assert torch.equal(matrix.structural.reshape(-1), together.structural)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n", [1, 15, 16, 17, 50])
def test_matrix_of_a_set_with_itself(scheme, n, monkeypatch):
    monkeypatch.setattr(cpu_scores, "STRIP", 20)
    rows = prepare(maps(3, n)).rows
    whole = cpu_scores.score_matrix(rows, rows, BackendSettings(scheme))
    assert torch.equal(whole.structural, whole.structural.mT)
    i, j = torch.triu_indices(n, n)
    listed = cpu_scores.score_pairs(rows, rows, i, j, BackendSettings(scheme))
    assert torch.equal(whole.structural[i, j], listed.structural)
    assert whole.converged.all()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_zero_maps_and_equal_images(scheme):
    local = torch.randn(4, 6, 20, generator=torch.Generator().manual_seed(0))
    local[1] = 0
    local[2, :3] = 0
    local[3] = local[0]
    some = FeatureMaps(local, (2, 3))
    i, j = every_pair(some, some)
    found = Matcher(scheme).pairs(some, some, i, j)
    expected = exact(some, some, i, j, scheme)
    assert found.similarity.isfinite().all()
    assert (found.similarity - expected.similarity).abs().max() < 5e-4


def test_no_positive_correlation_gives_uniform_weights():
    """Zero mass: the pooled vectors are opposed to every part of the other image."""
    local = torch.eye(4).repeat(2, 1, 1)
    pooled = -local.mean(dim=1)
    opposed = FeatureMaps(local, (2, 2), pooled)
    one = torch.tensor([0]), torch.tensor([1])
    weighted = Matcher("cross_correlation").pairs(opposed, opposed, *one)
    assert torch.equal(weighted.structural, Matcher("uniform").pairs(opposed, opposed, *one).structural)


@pytest.mark.parametrize("eps", [0.005, 0.02, 0.3])
def test_costs_too_wide_for_float32_go_to_the_reference(eps):
    local = torch.randn(6, 4, 8, generator=torch.Generator().manual_seed(2))
    local[1] = -local[0]
    wide = FeatureMaps(local, (2, 2))
    i, j = every_pair(wide, wide)
    scores = cpu_scores.score_pairs(prepare(wide).rows, prepare(wide).rows, i, j, BackendSettings("uniform", eps=eps))
    assert (scores.iterations < 0).any() == (eps < 0.1)
    matcher = Matcher("uniform", eps=eps, max_iterations=50_000)
    found = matcher.pairs(wide, wide, i, j)
    assert (found.iterations > 0).all()
    assert found.converged.all()
    assert (found.structural - exact(wide, wide, i, j, "uniform", eps).structural).abs().max() < 1e-3


def test_max_iterations_is_an_honest_answer():
    a, b = maps(5, 3), maps(6, 30)
    i, j = every_pair(a, b)
    few = Matcher("uniform", tolerance=1e-6, max_iterations=2).pairs(a, b, i, j)
    assert (few.iterations <= 2).all()
    assert not few.converged.all()
    assert few.similarity.isfinite().all()
    one = Matcher("uniform", tolerance=0.0, max_iterations=1).pairs(a, b, i, j)
    assert (one.iterations == 1).all()


def test_iterations_are_those_of_the_reference(monkeypatch):
    a, b = maps(7, 4), maps(8, 20)
    i, j = every_pair(a, b)
    fast = Matcher("uniform").pairs(a, b, i, j)
    monkeypatch.setenv("DIML_KERNEL", "torch")
    slow = Matcher("uniform").pairs(a, b, i, j)
    assert (fast.iterations - slow.iterations).abs().max() <= 1  # if an error equals the tolerance up to rounding
    assert (fast.iterations == slow.iterations).double().mean() > 0.9


def test_not_a_number_is_an_error():
    broken = maps(9, 2)
    broken.local[1, 0, 0] = torch.nan
    with pytest.raises(UsageError, match="NaN"):
        Matcher(max_iterations=10).similarity(broken, broken)


def test_indices_beyond_the_images():
    some = maps(10, 3)
    with pytest.raises(IndexError, match="3 images"):
        Matcher().pairs(some, some, torch.tensor([0]), torch.tensor([3]))
    last = Matcher().pairs(some, some, torch.tensor([0]), torch.tensor([-1]))
    assert torch.equal(last.similarity, Matcher().pairs(some, some, torch.tensor([0]), torch.tensor([2])).similarity)


def test_nothing_to_do():
    some, none = maps(11, 3), maps(11, 3)[:0]
    empty = torch.zeros(0, dtype=torch.int64)
    assert Matcher().pairs(some, some, empty, empty).similarity.shape == (0,)
    assert Matcher().similarity(none, some).shape == (0, 3)
    assert Matcher().similarity(some, none).shape == (3, 0)
    assert rerank(some, some, torch.zeros(3, 0, dtype=torch.int64)).shape == (3, 0)


def test_gradients_take_the_reference():
    a, b = maps(12, 2), maps(13, 3)
    a.local.requires_grad_(True)
    Matcher().similarity(a, b).sum().backward()
    assert a.local.grad is not None
    assert a.local.grad.abs().sum() > 0
    with torch.no_grad():
        assert not Matcher().similarity(a, b).requires_grad


def test_functions_have_the_settings_of_the_matcher():
    a, b = maps(14, 3, dtype=torch.float16), maps(15, 5, dtype=torch.float16)
    whole = similarity(a, b)
    assert torch.equal(whole, Matcher().similarity(a, b))
    assert torch.equal(whole, Matcher("uniform", 0.5, 0.05, 1e-3).similarity(a, b))
    assert torch.equal(rerank(a, b, torch.tensor([[4, 0]] * 3)), whole[:, [4, 0]])


class TestChoice:
    def test_by_device(self, monkeypatch):
        monkeypatch.delenv("DIML_KERNEL", raising=False)
        assert choose_backend(CPU) is cpu_scores
        assert choose_backend(torch.device("mps")) is None

    def test_forced(self, monkeypatch):
        monkeypatch.setenv("DIML_KERNEL", "torch")
        assert choose_backend(CPU) is None
        monkeypatch.setenv("DIML_KERNEL", "cpu")
        assert choose_backend(CPU) is cpu_scores
        monkeypatch.setenv("DIML_KERNEL", "cuda")
        with pytest.raises(UsageError, match="DIML_KERNEL=cuda cannot match maps on cpu"):
            choose_backend(CPU)
        monkeypatch.setenv("DIML_KERNEL", "fast")
        with pytest.raises(UsageError, match="expected DIML_KERNEL to be torch, cpu or cuda"):
            choose_backend(CPU)

    @pytest.fixture
    def without(self, monkeypatch):
        """As if the compiler were not installed."""
        monkeypatch.setattr(kernels_module, "BACKENDS", {"cpu": ("no_such_module", "numba")})
        kernels_module._load.cache_clear()
        kernels_module._warn.cache_clear()
        yield
        kernels_module._load.cache_clear()
        kernels_module._warn.cache_clear()

    def test_missing_is_said_once(self, without, monkeypatch):
        monkeypatch.delenv("DIML_KERNEL", raising=False)
        with pytest.warns(RuntimeWarning, match="pip install numba"):
            assert choose_backend(CPU) is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert choose_backend(CPU) is None

    def test_missing_and_forced(self, without, monkeypatch):
        monkeypatch.setenv("DIML_KERNEL", "cpu")
        with pytest.raises(UsageError, match="cannot be loaded"):
            choose_backend(CPU)

    @pytest.mark.slow
    def test_the_compiler_is_not_loaded_before_it_is_needed(self):
        code = "import sys, diml.matching; assert not {'numba', 'triton', 'llvmlite'} & set(sys.modules)"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestTopK:
    @settings(deadline=None, max_examples=30)
    @given(
        k=st.integers(1, 12),
        scheme=st.sampled_from(SCHEMES),
        weight=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        likeness=st.sampled_from([0.0, 0.5, 1.0]),
        limit=st.sampled_from([1, 3, 1000]),
        seed=st.integers(0, 2**20),
    )
    def test_is_that_of_solving_all(self, k, scheme, weight, likeness, limit, seed):
        queries, gallery = maps(seed, 3, 6, 8, likeness), maps(seed + 1, 120, 4, 8, likeness)
        gallery.local[7] = gallery.local[3]  # ties
        matcher = Matcher(scheme, weight, max_iterations=limit)
        found = top_k(matcher, queries, gallery, k)
        scores, order = matcher.similarity(queries, gallery).sort(dim=1, descending=True, stable=True)
        assert torch.equal(found.indices, order[:, :k])
        assert torch.equal(found.similarity, scores[:, :k])

    def test_of_a_shortlist(self):
        queries, gallery = maps(20, 4), maps(21, 90)
        shortlist = torch.stack([torch.randperm(90, generator=torch.Generator().manual_seed(q))[:40] for q in range(4)])
        found = top_k(Matcher(), queries, gallery, 3, shortlist)
        best = Matcher().rerank(queries, gallery, shortlist).topk(3)
        assert torch.equal(found.indices, shortlist.gather(1, best.indices))
        assert torch.equal(found.similarity, best.values)

    @pytest.mark.parametrize("kernel", ["cpu", "torch"])
    @pytest.mark.parametrize("transport", ["full", "one-sided", "dustbin"])
    def test_of_a_least_similarity(self, kernel, transport, monkeypatch):
        monkeypatch.setenv("DIML_KERNEL", kernel)
        matcher = Matcher(transport=transport)
        queries, gallery = maps(24, 1), maps(25, 200)
        gallery.local[7] = gallery.local[3]  # ties
        every = top_k(matcher, queries, gallery, 200)
        [scores], [order] = every.similarity, every.indices
        for reached in (0, 4, 11, 200):
            least = float(scores[reached - 1]) if reached else 1.0
            found = top_k(matcher, queries, gallery, 6, least=least)
            n = min(reached, 6)
            assert found.indices[0].tolist() == [*order[:n].tolist(), *(6 - n) * [200]]
            torch.testing.assert_close(found.similarity[0, :n], scores[:n], rtol=0, atol=1e-6)
            assert (found.similarity[0, n:] == least).all()
        assert top_k(matcher, queries, gallery, 6, least=float(scores[5])).solved <= every.solved

    def test_spares_plans(self):
        queries = maps(22, 5, likeness=0.5)
        gallery = FeatureMaps.cat([queries, maps(23, 300, likeness=0.5)])
        assert top_k(Matcher(), queries, gallery, 1).solved < 5 * 305 / 4

    def test_bounds_are_bounds(self):
        a, b = maps(24, 10, likeness=0.2), maps(25, 40, 9, likeness=0.2)
        i, j = every_pair(a, b)
        for scheme in SCHEMES:
            bounds = Matcher(scheme).bounds(a, b, i, j)
            assert bounds is not None
            assert (Matcher(scheme).pairs(a, b, i, j).structural <= bounds[0] + 1e-6).all()

    def test_without_bounds_everything_is_solved(self, monkeypatch):
        monkeypatch.setenv("DIML_KERNEL", "torch")
        queries, gallery = maps(26, 2), maps(27, 30)
        assert torch.equal(
            top_k(Matcher(), queries, gallery, 4).indices,
            Matcher().similarity(queries, gallery).sort(dim=1, descending=True, stable=True).indices[:, :4],
        )

    def test_what_cannot_be_asked(self):
        some = maps(28, 3)
        with pytest.raises(UsageError, match="expected k to be a whole number >= 1, got 0"):
            top_k(Matcher(), some, some, 0)
        with pytest.raises(UsageError, match="shortlist of shape"):
            top_k(Matcher(), some, some, 1, torch.zeros(2, 2, dtype=torch.int64))
        assert top_k(Matcher(), some, some, 9).indices.shape == (3, 3)
        assert top_k(Matcher(), UnitMaps(prepare(some).rows[:0]), some, 2).indices.shape == (0, 2)


@pytest.mark.parametrize("shared", [True, False])
def test_tiles_cover_every_pair_once(shared):
    a = maps(30, 23)
    b = a if shared else maps(31, 11)
    whole = torch.full((len(a), len(b)), torch.nan)
    for tile in Matcher().tiles(a, b, side=7):
        assert whole[tile.rows, tile.columns].isnan().all()
        whole[tile.rows, tile.columns] = tile.similarity
        if shared:
            whole[tile.columns, tile.rows] = tile.similarity.mT
    assert torch.equal(whole, Matcher().similarity(a, b))
