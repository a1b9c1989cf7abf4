"""Part weights: the account stays exact, for all schemes and transports, and the kernels agree with the reference."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import MARGINALS, OF_PARTS, Match, Matcher, top_k
from diml.matching.marginals import marginals_of, times_part_weights
from diml.matching.unit_maps import prepare

SCHEMES = [*MARGINALS, *OF_PARTS]
TRANSPORTS = [{"transport": "full"}, {"mass": 0.6}, {"transport": "one-sided"}, {"transport": "dustbin"}]


def random_maps(n: int, grid: tuple[int, int], seed: int, weighted: bool = True, dim: int = 12) -> FeatureMaps:
    """Parts of a few kinds, so that they have counterparts in other images; some weights are 0."""
    random = torch.Generator().manual_seed(seed)
    parts = grid[0] * grid[1]
    kinds = torch.randn(5, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(n, parts, dim, generator=random, dtype=torch.float64)
    local = kinds[torch.randint(5, (n, parts), generator=random)] + 0.7 * noise + 0.3
    weights = torch.rand(n, parts, generator=random, dtype=torch.float64) ** 3
    weights[:, parts // 2] = 0
    return FeatureMaps(local, grid, weights=weights if weighted else None)


def account(match: Match) -> Tensor:
    return match.contributions.sum(dim=(1, 2)) + sum(each.sum(dim=1) for each in match.unmatched_contributions)


class TestLaws:
    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("how", TRANSPORTS, ids=str)
    def test_the_account_adds_up(self, scheme: str, how: dict[str, object]) -> None:
        a, b = random_maps(4, (3, 3), 1), random_maps(4, (2, 5), 2)
        match = Matcher(scheme, weight=0.4, tolerance=1e-9, max_iterations=20_000, **how).match(a, b)
        torch.testing.assert_close(account(match), match.similarity, atol=1e-12, rtol=0)
        torch.testing.assert_close(match.residual, torch.zeros_like(match.similarity), atol=1e-12, rtol=0)

    @pytest.mark.parametrize("scheme", SCHEMES)
    @pytest.mark.parametrize("how", TRANSPORTS, ids=str)
    def test_uniform_weights_change_nothing(self, scheme: str, how: dict[str, object]) -> None:
        a, b = random_maps(4, (3, 3), 1, weighted=False), random_maps(4, (2, 5), 2, weighted=False)
        matcher = Matcher(scheme, **how).tight()
        plain = matcher.match(a, b)
        weighted = matcher.match(a.replace(weights=torch.ones(4, 9)), b.replace(weights=torch.ones(4, 10)))
        torch.testing.assert_close(weighted.similarity, plain.similarity, atol=1e-6, rtol=0)
        torch.testing.assert_close(weighted.contributions, plain.contributions, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("how", TRANSPORTS, ids=str)
    def test_a_part_without_weight_takes_no_part(self, how: dict[str, object]) -> None:
        a, b = random_maps(3, (3, 3), 3), random_maps(3, (3, 3), 4)
        matcher = Matcher(**how).tight()
        match = matcher.match(a, b)
        assert not match.plan[:, 4].any()
        assert not match.plan[:, :, 4].any()
        assert not match.contributions[:, 4].any()
        assert not match.contributions[:, :, 4].any()
        changed = a.local.clone()
        changed[:, 4] = 7
        torch.testing.assert_close(matcher.match(a.replace(local=changed), b).similarity, match.similarity)

    @pytest.mark.parametrize("how", TRANSPORTS, ids=str)
    def test_the_order_of_the_parts_is_nothing(self, how: dict[str, object]) -> None:
        a, b = random_maps(3, (3, 3), 3), random_maps(3, (3, 3), 4)
        order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
        other = a.replace(local=a.local[:, order], weights=a.weights_or_uniform[:, order])
        matcher = Matcher(tolerance=1e-10, max_iterations=20_000, **how)
        torch.testing.assert_close(matcher.match(other, b).similarity, matcher.match(a, b).similarity)

    @pytest.mark.parametrize("scheme", SCHEMES)
    def test_marginals_are_weights_times_the_scheme(self, scheme: str) -> None:
        a, b = random_maps(3, (3, 3), 3), random_maps(3, (2, 3), 4)
        match = Matcher(scheme).match(a, b)
        product = prepare(a).rows @ prepare(b).rows.mT
        for mu, alone, maps in zip(match.marginals or (), marginals_of(scheme, product), (a, b), strict=True):
            expected = alone * maps.weights_or_uniform
            torch.testing.assert_close(mu, expected / expected.sum(dim=1, keepdim=True))

    def test_weights_alone_where_the_scheme_leaves_nothing(self) -> None:
        weights = torch.tensor([[0.25, 0.75, 0.0]])
        torch.testing.assert_close(times_part_weights(torch.tensor([[0.0, 0.0, 1.0]]), weights), weights)

    def test_schemes_of_all_pairs_of_parts(self) -> None:
        """Against loops over the formulas of DeepFace-EMD."""
        a, b = random_maps(1, (2, 2), 5, weighted=False), random_maps(1, (2, 3), 6, weighted=False)
        product = prepare(a).rows @ prepare(b).rows.mT
        s = product[0, :-1, :-1].tolist()
        apc = [max(0.0, sum(row) / len(row)) for row in s]
        sc = [sum(1 - x for x in row) for row in s]
        for name, of_a in (("apc", apc), ("sc", sc)):
            mu_a, mu_b = marginals_of(name, product)
            torch.testing.assert_close(mu_a[0], torch.tensor(of_a, dtype=torch.float64) / sum(of_a))
            torch.testing.assert_close(mu_b, marginals_of(name, product.mT)[0])

    def test_the_pooled_vector_learns_through_the_weights(self) -> None:
        maps = random_maps(2, (2, 2), 7)
        raw = torch.rand(2, 4, dtype=torch.float64, requires_grad=True)
        Matcher(tolerance=1e-9).pairs(
            maps.replace(weights=raw), maps, torch.tensor([0]), torch.tensor([1])
        ).pooled.sum().backward()
        assert raw.grad is not None
        assert raw.grad[0].abs().sum() > 0
        assert not raw.grad[1].any()


class TestTransports:
    def test_one_sided_is_the_softmax_with_a_prior(self) -> None:
        a, b = random_maps(2, (2, 2), 8), random_maps(2, (2, 3), 9)
        match = Matcher(transport="one-sided", eps=0.1).match(a, b)
        alpha, beta = a.weights_or_uniform, b.weights_or_uniform
        s = match.local_similarity
        for n, i, j in itertools.product(range(2), range(4), range(6)):
            total = sum(float(beta[n, k] * torch.exp(s[n, i, k] / 0.1)) for k in range(6))
            expected = float(alpha[n, i] * beta[n, j] * torch.exp(s[n, i, j] / 0.1)) / total
            assert abs(float(match.plan[n, i, j]) - expected) < 1e-12
        assert float(match.unmatched[0].sum()) < 1e-12

    @pytest.mark.parametrize("kernel", ["torch", "cpu"])
    def test_one_sided_is_not_symmetric(self, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIML_KERNEL", kernel)
        maps = random_maps(5, (3, 3), 10).to(torch.float32)
        copy = maps.replace(local=maps.local.clone())
        matcher = Matcher(transport="one-sided")
        own = matcher.similarity(maps, maps)
        torch.testing.assert_close(own, matcher.similarity(maps, copy), atol=1e-6, rtol=0)
        assert (own - own.mT).abs().max() > 1e-3
        tiles = torch.zeros(5, 5)
        for tile in matcher.tiles(maps, maps, side=2):
            tiles[tile.rows, tile.columns] = tile.similarity
        torch.testing.assert_close(own, tiles, atol=1e-6, rtol=0)

    def test_unmatched_is_what_the_plan_leaves(self) -> None:
        a, b = random_maps(3, (3, 3), 11), random_maps(3, (3, 3), 12)
        match = Matcher(mass=0.7).tight().match(a, b)
        for left in match.unmatched:
            torch.testing.assert_close(left.sum(dim=1), torch.full((3,), 0.3, dtype=torch.float64), atol=1e-5, rtol=0)
        assert max(float(left.max()) for left in Matcher().tight().match(a, b).unmatched) < 1e-5

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"transport": "half"}, "expected transport to be one of full, one-sided, dustbin, got 'half'"),
            ({"transport": "dustbin", "mass": 0.5}, "expected a mass below 1 with transport 'full' only"),
            ({"bin_similarity": 1.0}, "expected bin_similarity from -1 to below 1, got 1.0"),
        ],
    )
    def test_settings_are_checked(self, change: dict[str, object], sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            Matcher(**change)


class TestKernel:
    """The CPU kernel in float32 against the reference in float64, solved tightly.

    With a dustbin, both are stopped at the same tolerance: where nearly all of a row is matched with full columns, the
    iterations approach the solution slowly, and what is left is many times the last change.
    """

    @pytest.fixture(autouse=True)
    def _forced(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIML_KERNEL", "cpu")

    @staticmethod
    def exact(matcher: Matcher, a: FeatureMaps, b: FeatureMaps) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DIML_KERNEL", "torch")
            tight = {} if matcher.transport == "dustbin" else {"tolerance": 1e-9, "max_iterations": 50_000}
            return matcher.replace(**tight).similarity(a, b).float()

    @pytest.mark.parametrize("scheme", MARGINALS)
    @pytest.mark.parametrize("transport", ["full", "one-sided", "dustbin"])
    @pytest.mark.parametrize("grids", [((4, 4), (3, 6)), ((1, 1), (2, 2)), ((5, 7), (4, 4))], ids=str)
    def test_it_agrees(self, scheme: str, transport: str, grids: tuple[tuple[int, int], tuple[int, int]]) -> None:
        a, b = (random_maps(19, grid, seed) for seed, grid in enumerate(grids))
        if grids[0] == (1, 1):
            a = a.replace(weights=None)  # beside maps with weights
        matcher = Matcher(scheme, transport=transport, bin_similarity=0.3, tolerance=1e-5)
        a32, b32 = a.to(torch.float32), b.to(torch.float32)
        expected = self.exact(matcher, a, b)
        torch.testing.assert_close(matcher.similarity(a32, b32), expected, atol=3e-5, rtol=0)
        shortlist = torch.randint(19, (19, 6), generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(
            matcher.rerank(a32, b32, shortlist), expected.gather(1, shortlist), atol=3e-5, rtol=0
        )
        own = self.exact(matcher, b, b)
        torch.testing.assert_close(matcher.similarity(b32, b32), own, atol=3e-5, rtol=0)

    @pytest.mark.parametrize("transport", ["full", "one-sided", "dustbin"])
    def test_plans_agree(self, transport: str) -> None:
        a, b = random_maps(7, (3, 3), 1), random_maps(8, (4, 4), 2)
        matcher = Matcher("cross_correlation", transport=transport, tolerance=1e-5)
        i, j = torch.tensor([0, 6, 3]), torch.tensor([7, 0, 2])
        exact = matcher.match(a[i], b[j]).plan.float()
        a32, b32 = prepare(a.to(torch.float32)), prepare(b.to(torch.float32))
        torch.testing.assert_close(matcher.plans(a32, b32, i, j).plan, exact, atol=2e-5, rtol=0)
        products = torch.einsum("nkd,mld->nkml", a32.rows, b32.rows)
        weights = a.weights_or_uniform.float(), b.weights_or_uniform.float()
        torch.testing.assert_close(matcher.plans_of(products, i, j, weights).plan, exact, atol=2e-5, rtol=0)

    def test_marginals_that_the_caller_gives_are_compiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        a, b = random_maps(5, (3, 3), 1), random_maps(6, (4, 4), 2)
        matcher = Matcher((torch.rand(5, 9), torch.rand(6, 16)), tolerance=1e-5)
        expected = self.exact(matcher, a, b)
        monkeypatch.setattr("diml.matching.reference.pair_scores", None)
        torch.testing.assert_close(
            matcher.similarity(a.to(torch.float32), b.to(torch.float32)), expected, atol=3e-5, rtol=0
        )

    def test_weights_do_not_fall_back_to_the_reference(self, monkeypatch: pytest.MonkeyPatch) -> None:
        maps = random_maps(5, (3, 3), 1).to(torch.float32)
        monkeypatch.setattr("diml.matching.reference.pair_scores", None)
        for transport in ("full", "one-sided", "dustbin"):
            assert torch.isfinite(Matcher(transport=transport).similarity(maps, maps)).all()

    @pytest.mark.parametrize("transport", ["full", "one-sided", "dustbin"])
    def test_bounds_and_the_best(self, transport: str) -> None:
        a, b = random_maps(6, (3, 3), 1).to(torch.float32), random_maps(150, (3, 3), 2).to(torch.float32)
        matcher = Matcher("cross_correlation", weight=0.8, transport=transport)
        i, j = torch.arange(6).repeat_interleave(150), torch.arange(150).repeat(6)
        scores = matcher.pairs(a, b, i, j)
        bounds = matcher.bounds(a, b, i, j)
        assert bounds is not None
        assert (scores.structural <= bounds[0] + 2e-5).all()
        torch.testing.assert_close(bounds[1], scores.pooled)
        best = scores.similarity.reshape(6, 150).topk(4)
        found = top_k(matcher, a, b, 4)
        torch.testing.assert_close(found.similarity, best.values)
        assert found.solved < 900

    def test_pairs_of_a_wide_range_are_left_to_the_reference(self) -> None:
        a = random_maps(6, (3, 3), 1)
        matcher = Matcher(transport="dustbin", eps=0.01, tolerance=1e-4, max_iterations=20_000)
        torch.testing.assert_close(
            matcher.similarity(a.to(torch.float32), a.to(torch.float32)), self.exact(matcher, a, a), atol=2e-4, rtol=0
        )
