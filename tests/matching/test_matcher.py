"""Lists of pairs, and what is computed from them: matrices, shortlists, gradients, memory."""

import subprocess
import sys

import pytest
import torch

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import Match, Matcher, cross_correlation, prepare, top_k, topk, uniform
from diml.matching import pair_lists as pair_lists_module


def maps(seed, n, grid=(4, 4), dim=32, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(n, 1, dim, generator=g, dtype=torch.float64)
    return FeatureMaps(
        (base + torch.randn(n, grid[0] * grid[1], dim, generator=g, dtype=torch.float64)).to(dtype), grid
    )


SCHEMES = ["uniform", "cross_correlation"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_ways_give_the_same_number(scheme):
    a, b = maps(0, 9), maps(1, 13, (3, 5))
    matcher = Matcher(scheme).tight()  # the kernel and the reference may stop an iteration apart
    matrix = matcher.similarity(a, b)
    i, j = torch.tensor([0, 8, 3, 3]), torch.tensor([12, 0, 5, 5])
    scores = matcher.pairs(a, b, i, j)
    matched = matcher.match(a[i], b[j])
    torch.testing.assert_close(matrix[i, j], scores.similarity)
    torch.testing.assert_close(matched.similarity, scores.similarity)
    torch.testing.assert_close(matched.structural, scores.structural)
    torch.testing.assert_close(matched.pooled, scores.pooled)
    torch.testing.assert_close(matcher.similarity(prepare(a), prepare(b)), matrix)


def test_shortlist_of_all_is_exhaustive_matching():
    a, b = maps(2, 5), maps(3, 11)
    everything = torch.stack([torch.randperm(11, generator=torch.Generator().manual_seed(k)) for k in range(5)])
    reranked = Matcher().rerank(a, b, everything)
    torch.testing.assert_close(reranked, Matcher().similarity(a, b).gather(1, everything))


def test_tiles_do_not_change_the_matrix(monkeypatch):
    a, b = maps(4, 30), maps(5, 20)
    for tile in Matcher().tiles(a, b, side=7):
        assert torch.equal(tile.similarity, Matcher().similarity(a, b)[tile.rows, tile.columns])
    monkeypatch.setenv("DIML_KERNEL", "torch")
    whole, itself = Matcher().similarity(a, b), Matcher().similarity(a, a)
    monkeypatch.setattr(pair_lists_module, "BLOCK", 37)
    assert torch.equal(Matcher().similarity(a, b), whole)
    assert torch.equal(Matcher().similarity(a, a), itself)


def test_a_set_with_itself_is_symmetric_and_solved_once():
    a = maps(6, 12)
    matrix = Matcher().similarity(a, a)
    assert torch.equal(matrix, matrix.mT)
    torch.testing.assert_close(matrix, Matcher().similarity(a, a[:]), atol=1e-3, rtol=0)
    upper = Matcher().similarity(a, a[:]).triu()
    torch.testing.assert_close(matrix.triu(), upper)


def test_marginals_of_the_callers():
    a, b = maps(7, 3), maps(8, 4, (2, 2))
    mu_a, mu_b = torch.rand(3, 16) + 0.1, torch.rand(4, 4) + 0.1
    matcher = Matcher((mu_a, mu_b))
    plan = matcher.replace(marginals=(mu_a, mu_b[:3])).tight().match(a, b[:3]).plan
    torch.testing.assert_close(plan.sum(2), mu_a / mu_a.sum(1, keepdim=True), atol=1e-5, rtol=0)
    assert matcher.similarity(a, b).shape == (3, 4)
    equal = Matcher((torch.ones(3, 16), torch.ones(4, 4))).tight().similarity(a, b)
    torch.testing.assert_close(equal, Matcher("uniform").tight().similarity(a, b))
    torch.testing.assert_close(equal, Matcher(uniform).tight().similarity(a, b))
    for wrong, said in [(-mu_a, ">= 0"), (mu_a * 0, "all 0"), (mu_a[:2], "expected"), (mu_a / 0 - 1, "finite")]:
        with pytest.raises(UsageError, match=said):
            Matcher((wrong, mu_b)).similarity(a, b)


def test_marginals_of_the_callers_are_cut_as_the_maps_are(monkeypatch):
    a, mu = maps(7, 9), torch.rand(2, 9, 16) + 0.1
    for images in (a, a[:]):
        matcher = Matcher((mu[0], mu[1]))
        whole = matcher.similarity(a, images)
        tiles = list(matcher.tiles(a, images, side=4))
        assert sum(tile.similarity.numel() for tile in tiles) == 81
        for tile in tiles:
            torch.testing.assert_close(tile.similarity, whole[tile.rows, tile.columns])
        monkeypatch.setattr(topk, "HELD", 20)  # blocks of two queries
        found = top_k(matcher, a, images, 3)
        best = whole.topk(3, dim=1)
        torch.testing.assert_close(found.similarity, best.values)
        assert torch.equal(found.indices, best.indices)


def test_cross_correlation_ignores_the_scale_and_falls_back_to_uniform():
    c = torch.tensor([[0.5, -0.2, 0.25], [-0.5, 0.0, -1.0], [1e-42, 0.0, 0.0]])
    mu = cross_correlation(c)
    torch.testing.assert_close(mu.sum(1), torch.ones(3))
    torch.testing.assert_close(mu[1:], torch.full((2, 3), 1 / 3))
    torch.testing.assert_close(cross_correlation(c[:1] * 7), mu[:1])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_gradients_are_those_of_a_fixed_plan(scheme):
    matcher = Matcher(scheme).tight()
    a, b = maps(9, 3, dtype=torch.float64), maps(10, 3, dtype=torch.float64)
    a.local.requires_grad_()
    i = torch.arange(3)
    matcher.pairs(a, b, i, i).similarity.sum().backward()
    through_pairs = a.local.grad.clone()
    a.local.grad = None
    again = FeatureMaps(a.local, a.grid)
    plan = matcher.match(again.detach(), b).transport
    Match(again, b, plan).similarity.sum().backward()
    torch.testing.assert_close(through_pairs, a.local.grad, atol=1e-9, rtol=0)
    a.local.grad = None
    matcher.similarity(FeatureMaps(a.local, a.grid), b).diagonal().sum().backward()
    torch.testing.assert_close(through_pairs, a.local.grad, atol=1e-9, rtol=0)


def test_symmetric_matrix_carries_gradients():
    a = maps(11, 4, dtype=torch.float64)
    a.local.requires_grad_()
    Matcher().tight().similarity(a, a).sum().backward()
    expected = a.local.grad.clone()
    a.local.grad = None
    Matcher().tight().similarity(FeatureMaps(a.local, a.grid), FeatureMaps(a.local, a.grid)).sum().backward()
    torch.testing.assert_close(expected, a.local.grad, atol=1e-6, rtol=0)


def test_float16_is_stored_not_computed_in():
    a = maps(12, 6)
    low = a.to(torch.float16)
    scores = Matcher().similarity(low, low)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, Matcher().similarity(a, a), atol=2e-3, rtol=0)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize("kernel", ["torch", "cpu"])
def test_lists_that_are_no_pairs_are_refused(kernel, monkeypatch):
    """Compiled code would read beyond the end of the shorter list."""
    monkeypatch.setenv("DIML_KERNEL", kernel)
    a, many, few = maps(9, 20), torch.arange(20).repeat(100), torch.tensor([3])
    products = torch.einsum("nkd,mld->nkml", prepare(a).rows, prepare(a).rows)
    for i, j in ((many, few), (few, many), (few, few[:0])):
        for ask in (Matcher().pairs, Matcher().plans, Matcher().bounds):
            with pytest.raises(UsageError, match=f"got {len(i)} and {len(j)}"):
                ask(a, a, i, j)
        with pytest.raises(UsageError, match="to form pairs"):
            Matcher().plans_of(products, i, j)
    for wrong in (few.float(), few > 2):
        with pytest.raises(UsageError, match="expected whole numbers"):
            Matcher().pairs(a, a, wrong, few)
        with pytest.raises(UsageError, match="expected whole numbers"):
            Matcher().rerank(a[:1], a, wrong[None])
        with pytest.raises(UsageError, match="expected whole numbers"):
            top_k(Matcher(), a[:1], a, 1, wrong[None])
    expected = Matcher().pairs(a, a, few, few).similarity
    torch.testing.assert_close(Matcher().pairs(a, a, few.to(torch.uint8), few - 20).similarity, expected)


@pytest.mark.parametrize("kernel", ["torch", "cpu"])
def test_the_best_of_maps_that_are_no_numbers_is_an_error(kernel, monkeypatch):
    monkeypatch.setenv("DIML_KERNEL", kernel)
    local = maps(10, 40).local
    for broken in (float("nan"), float("inf")):
        for images, parts in ((slice(0, 4), slice(None)), (slice(30, 31), slice(2, 3))):
            wrong = local.clone()
            wrong[images, parts] = broken
            gallery = FeatureMaps(wrong, (4, 4))
            with pytest.raises(UsageError, match="NaN or infinity"):
                top_k(Matcher(), maps(11, 3), gallery, 2)
            with pytest.raises(UsageError, match="NaN or infinity"):
                top_k(Matcher(), gallery[30:31] if images.start else gallery[:1], maps(11, 3), 2)


@pytest.mark.usefixtures("unchecked_shapes")
def test_top_k_takes_what_rerank_takes():
    a, b = maps(12, 3), maps(13, 9)
    candidates = torch.tensor([[0, -1], [3, 4], [5, -9]])
    found = top_k(Matcher(), a, b.to(torch.float64), 2, candidates)
    scores = Matcher().rerank(a, b.to(torch.float64), candidates)
    torch.testing.assert_close(found.similarity, scores.sort(dim=1, descending=True).values)
    assert (found.indices >= 0).all()
    with pytest.raises(UsageError, match="expected maps of one dim"):
        top_k(Matcher(), a, maps(13, 9, dim=8), 2)
    with pytest.raises(UsageError, match=r"expected k to be a whole number >= 1, got 2\.5"):
        top_k(Matcher(), a, b, 2.5)


@pytest.mark.parametrize("scale", [1e-30, 1e-13, 1e-6, 1e6, 1e19, 1e30])
def test_the_length_of_vectors_does_not_matter(scale):
    a, b = maps(14, 3), maps(15, 4)
    scaled = FeatureMaps(a.local * scale, a.grid)
    torch.testing.assert_close(Matcher().similarity(scaled, b), Matcher().similarity(a, b), atol=1e-5, rtol=0)


def test_no_pairs():
    a = maps(13, 3)
    none = torch.zeros(0, dtype=torch.long)
    assert Matcher().pairs(a, a, none, none).similarity.shape == (0,)
    assert Matcher().similarity(a[:0], a).shape == (0, 3)
    assert len(Matcher().match(a[:0], a[:0])) == 0
    assert Matcher().rerank(a, a, torch.zeros(3, 0, dtype=torch.long)).shape == (3, 0)


@pytest.mark.usefixtures("unchecked_shapes")
@pytest.mark.parametrize(
    "settings",
    [
        {"marginals": "gaussian"},
        {"marginals": (torch.ones(2, 4),)},
        {"marginals": [torch.ones(2, 4), torch.ones(2, 4)]},
        {"weight": 1.5},
        {"eps": 0},
        {"tolerance": -1},
        {"max_iterations": 0},
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(UsageError):
        Matcher(**settings)


MEMORY = """
import re, torch
torch.set_num_threads(2)
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher

def peak():  # KiB, of this process alone: what getrusage tells includes the process that started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])

torch.manual_seed(0)
a, b = (FeatureMaps(torch.randn(1000, 1, 128) + torch.randn(1000, 16, 128), (4, 4)) for _ in range(2))
Matcher().similarity(a[:50], b[:50])
before = peak()
Matcher().similarity(a, b)
print((peak() - before) / 1024)
"""


@pytest.mark.slow
def test_all_pairs_of_a_thousand_need_little_memory():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 250, f"{done.stdout} MB"  # their products alone are 1100
