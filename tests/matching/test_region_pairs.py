"""Laws of the regions that correspond: they are an exact account, and regions that a reader can point at."""

import math
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Match, Matcher, find_part
from diml.matching.region_cells import CellValues
from diml.matching.region_moves import RegionSearch

grids = st.tuples(st.integers(1, 6), st.integers(1, 6))


def maps(seed, grid, shift=0.3, dim=16, own=False):
    g = torch.Generator().manual_seed(seed)
    local = torch.randn(1, grid[0] * grid[1], dim, generator=g, dtype=torch.float64) + shift
    pooled = torch.randn(1, dim, generator=g, dtype=torch.float64) if own else None
    geometry = Geometry(torch.tensor([[60, 40]]), torch.tensor([[0.0, 0.0, 60.0, 40.0]], dtype=torch.float64))
    return FeatureMaps(local, grid, pooled, geometry)


def match_of(seed, grid_a=(4, 4), grid_b=(4, 4), shift=0.3, own=False, weight=0.5):
    return Matcher(weight=weight).match(maps(seed, grid_a, shift, own=own), maps(seed + 1, grid_b, shift, own=own))


def part_of(seed, grid_a, grid_b):
    chosen = torch.zeros(1, grid_a[0] * grid_a[1])
    chosen[0, :2] = 1
    return find_part(maps(seed, grid_a), maps(seed + 1, grid_b), chosen)


def is_connected(cells):
    cells, border = set(cells), [min(cells)]
    left = cells - set(border)
    while border:
        row, column = border.pop()
        beside = {(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)} & left
        left -= beside
        border += beside
    return not left


def check(match, n):
    regions = match.regions(n)
    total = sum(pair.contribution for pair in regions) + regions.residual
    assert total == pytest.approx(match.similarity.item(), abs=1e-9)
    assert regions.similarity == match.similarity.item()
    assert len(regions.named) <= n
    for own, grid in (("a_cells", match.maps_a.grid), ("b_cells", match.maps_b.grid)):
        cells = [cell for pair in regions for cell in getattr(pair, own)]
        assert sorted(cells) == [(row, column) for row in range(grid[0]) for column in range(grid[1])]
        for pair in regions.named:
            named = getattr(pair, own)
            assert is_connected(named)
            assert len(named) <= max(1, grid[0] * grid[1] // 3)
    order = [pair.contribution for pair in regions.named]
    assert order == sorted(order, reverse=True)
    assert all(value > 0 for value in order)
    return regions


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), grids, grids, st.integers(1, 5), st.sampled_from([-0.5, 0.0, 0.3, 1.0]), st.booleans())
def test_regions_are_an_exact_account_of_connected_disjoint_small_regions(seed, grid_a, grid_b, n, shift, own):
    check(match_of(seed, grid_a, grid_b, shift, own), n)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), grids.filter(lambda grid: grid[0] * grid[1] > 1), grids, st.integers(1, 5))
def test_regions_of_a_part_query_hold_chosen_cells_only(seed, grid_a, grid_b, n):
    match = part_of(seed, grid_a, grid_b)
    chosen = {divmod(i, grid_a[1]) for i in match.chosen}
    for pair in check(match, n).named:
        assert set(pair.a_cells) <= chosen


def flipped(of):
    local = of.local.reshape(1, *of.grid, -1).flip(2).reshape(of.local.shape)
    return FeatureMaps(local, of.grid, geometry=of.geometry)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), grids, grids)
def test_flipping_both_images_flips_the_regions(seed, grid_a, grid_b):
    a, b = maps(seed, grid_a), maps(seed + 1, grid_b)
    matcher = Matcher(tolerance=1e-10, max_iterations=100_000)
    one, other = matcher.match(a, b).regions(), matcher.match(flipped(a), flipped(b)).regions()
    for pair, mirrored in zip(one, other, strict=True):
        assert pair.contribution == pytest.approx(mirrored.contribution, abs=1e-8)
        assert sorted((r, grid_a[1] - 1 - c) for r, c in pair.a_cells) == list(mirrored.a_cells)
        assert sorted((r, grid_b[1] - 1 - c) for r, c in pair.b_cells) == list(mirrored.b_cells)


def test_contributions_by_naive_loops():
    match = match_of(3, (3, 4), (4, 5))
    structural, pooled = match.structural_contributions[0], match.pooled_contributions[0]
    for pair in match.regions().named:
        a, b = [r * 4 + c for r, c in pair.a_cells], [r * 5 + c for r, c in pair.b_cells]
        value = sum(float(structural[i, j]) for i in a for j in b)
        value += sum(float(pooled[i].sum()) / 2 for i in a) + sum(float(pooled[:, j].sum()) / 2 for j in b)
        assert pair.contribution == pytest.approx(value, abs=1e-12)
        assert pair.share == pytest.approx(value / match.similarity.item(), abs=1e-12)


def blocks(places, grid=(4, 4)):
    """A map with a feature of its own for each of the 2x2 blocks, which lie where `places` says."""
    local = torch.zeros(grid[0], grid[1], 4, dtype=torch.float64)
    for feature, (row, column) in enumerate(places):
        local[row : row + 2, column : column + 2, feature] = 1
    return FeatureMaps(local.reshape(1, -1, 4), grid)


def test_blocks_that_moved_are_found_where_they_went():
    corners = [(0, 0), (0, 2), (2, 0), (2, 2)]
    match = Matcher(weight=1.0).match(blocks(corners), blocks(corners[::-1]))
    regions = match.regions()
    found = {pair.a_cells: pair.b_cells for pair in regions.named}
    # 70 % of the similarity needs three of the four blocks.
    assert len(found) >= 3
    for a_cells, b_cells in found.items():
        (row, column), (other_row, other_column) = min(a_cells), min(b_cells)
        assert (other_row // 2, other_column // 2) == (1 - row // 2, 1 - column // 2)
    assert 0.7 - 1e-9 <= regions.carried < 0.85


def test_regions_carry_seventy_percent_with_no_more_cells_than_needed():
    regions = match_of(5, shift=1.0).regions()
    assert regions.carried >= 0.7
    assert regions.carried == pytest.approx(sum(pair.share for pair in regions.named))
    smallest = min(pair.contribution / (len(pair.a_cells) + len(pair.b_cells)) for pair in regions.named)
    assert regions.carried * regions.similarity - smallest * 4 < 0.75 * regions.similarity


def test_opposed_images_have_a_negative_remainder_and_no_region():
    a = maps(7, (4, 4), shift=2.0)
    regions = check(Matcher().match(a, FeatureMaps(-a.local, a.grid)), 5)
    assert regions.similarity < -0.5
    assert [pair.kind for pair in regions] == ["remainder"]
    assert regions[0].contribution == pytest.approx(regions.similarity, abs=1e-9)


def test_maps_of_zeros_have_no_region():
    nothing = FeatureMaps(torch.zeros(1, 4, 3), (2, 2))
    regions = Matcher().match(nothing, nothing).regions()
    assert [(pair.kind, pair.contribution) for pair in regions] == [("remainder", 0.0)]
    assert math.isnan(regions.carried)
    assert math.isnan(regions[0].share)


def test_boxes_surround_the_cells():
    regions = match_of(8).regions()
    pair = regions.named[0]
    rows, columns = [row for row, _ in pair.a_cells], [column for _, column in pair.a_cells]
    assert pair.a_box == (15 * min(columns), 10 * min(rows), 15 * (max(columns) + 1), 10 * (max(rows) + 1))
    match = match_of(8)
    unknown = Matcher().match(*(FeatureMaps(each.local, each.grid) for each in (match.maps_a, match.maps_b)))
    assert unknown.regions().named[0].a_box is None


def test_the_same_match_gives_the_same_regions():
    assert match_of(9).regions() == match_of(9).regions()


def test_improving_never_loses():
    from diml.matching import region_pairs
    from diml.matching.region_merging import merged_regions

    for seed in range(10):
        values: CellValues = region_pairs._values(match_of(seed, (5, 4), (4, 4)))
        search = RegionSearch(values, merged_regions(values, 5))
        before = search.worth().sum()
        search.improve()
        assert search.worth().sum() >= before - 1e-12
        owner_a, owner_b = search.owners
        same = (owner_a[:, None] == owner_b) & (owner_a[:, None] >= 0)
        naive = values.pairs[same].sum() + values.a.value[owner_a >= 0].sum() + values.b.value[owner_b >= 0].sum()
        assert search.worth().sum() == pytest.approx(naive, abs=1e-12)


def test_bad_requests_are_refused():
    with pytest.raises(UsageError, match=r"expected n >= 1, got 0"):
        match_of(0).regions(0)
    both = Matcher().match(FeatureMaps(torch.ones(2, 4, 3), (2, 2)), FeatureMaps(torch.ones(2, 4, 3), (2, 2)))
    with pytest.raises(UsageError, match=r"got 2 pairs; use match\[0\].regions\(\)"):
        both.regions()


@pytest.mark.slow
def test_regions_are_fast_enough_for_pictures_and_pages():
    for grid, most in (((4, 4), 0.02), ((14, 14), 0.3)):
        match: Match = match_of(1, grid, grid)
        match.regions()
        times = []
        for _ in range(5):
            start = time.process_time()
            match.regions()
            times.append(time.process_time() - start)
        assert min(times) < most


class TestWeightsAndUnmatched:
    @pytest.mark.parametrize("how", [{}, {"mass": 0.6}, {"transport": "one-sided"}, {"transport": "dustbin"}], ids=str)
    def test_all_groups_sum_to_the_similarity(self, how: dict[str, object]) -> None:
        random = torch.Generator().manual_seed(0)
        for seed in range(4):
            local = torch.randn(2, 16, 6, generator=random.manual_seed(seed), dtype=torch.float64) + 0.4
            weights = torch.rand(2, 16, generator=random, dtype=torch.float64) ** 4
            maps = FeatureMaps(local, (4, 4), weights=weights)
            match = Matcher(bin_similarity=0.5, **how).tight().match(maps[0], maps[1])
            regions = match.regions()
            total = sum(pair.contribution for pair in regions) + regions.residual
            assert abs(total - match.similarity.item()) < 1e-9
            for side in ("a_cells", "b_cells"):
                cells = [cell for pair in regions for cell in getattr(pair, side)]
                assert sorted(cells) == [(k // 4, k % 4) for k in range(16)]

    def test_light_cells_are_background(self) -> None:
        weights = torch.full((1, 16), 1.0, dtype=torch.float64)
        weights[0, [0, 5]] = 0.3
        maps = FeatureMaps(torch.eye(16, dtype=torch.float64)[None], (4, 4), weights=weights)
        regions = Matcher().tight().match(maps, maps).regions()
        [background] = [pair for pair in regions if pair.kind == "background"]
        assert background.a_cells == background.b_cells == ((0, 0), (1, 1))
        assert not any({(0, 0), (1, 1)} & set(pair.a_cells) for pair in regions.named)

    def test_what_found_no_counterpart(self) -> None:
        """Half of the parts of either image are nowhere in the other one."""
        a, b = torch.eye(24, dtype=torch.float64)[None, :16], torch.eye(24, dtype=torch.float64)[None, 8:]
        match = (
            Matcher(transport="dustbin", bin_similarity=0.8)
            .tight()
            .match(FeatureMaps(a, (4, 4)), FeatureMaps(b, (4, 4)))
        )
        regions = match.regions()
        [unmatched] = [pair for pair in regions if pair.kind == "unmatched"]
        assert unmatched.a_cells == tuple((k // 4, k % 4) for k in range(8))
        assert unmatched.b_cells == tuple((k // 4, k % 4) for k in range(8, 16))
        assert regions.unmatched == pytest.approx((0.5, 0.5), abs=1e-3)
        assert unmatched.contribution == pytest.approx(0.5 * 0.8 * 0.5, abs=1e-3)


def test_scraps_have_no_name():
    """Two parts that hardly weigh and match beside a large match: a region of 2 % would only distract."""
    local = torch.eye(16, dtype=torch.float64)[None]
    weights = torch.full((1, 16), 0.05, dtype=torch.float64)
    weights[0, [0, 1]] = 1.0
    maps = FeatureMaps(local, (4, 4), weights=weights)
    regions = Matcher().tight().match(maps, maps).regions()
    assert all(pair.share >= 0.05 for pair in regions.named)
    assert {cell for pair in regions.named for cell in pair.a_cells} == {(0, 0), (0, 1)}
