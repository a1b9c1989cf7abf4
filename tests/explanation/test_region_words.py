"""Regions in words and documents, and the groups of parts of contrasts and agreements."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diml.explanation import Agreement, Contrast, PairExplanation, PartSums
from diml.explanation.part_groups import part_groups
from diml.explanation.words import percent
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Matcher


def maps(seed, n=1, grid=(4, 4), shift=0.4):
    local = torch.randn(n, grid[0] * grid[1], 16, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    size, visible = torch.tensor([[60, 40]] * n), torch.tensor([[0.0, 0.0, 60.0, 40.0]] * n, dtype=torch.float64)
    return FeatureMaps(local + shift, grid, geometry=Geometry(size, visible))


def explanation(shift=0.4):
    return PairExplanation(Matcher().tight().match(maps(0, shift=shift), maps(1, grid=(3, 5), shift=shift)))


def test_words_name_each_region_and_add_up():
    said = explanation()
    regions, lines = said.regions(), said.describe().split("\n\n")[1].splitlines()
    assert len(lines) == len(regions)
    for rank, (pair, line) in enumerate(zip(regions.named, lines, strict=False), start=1):
        share = percent(pair.contribution, said.similarity)
        assert line.startswith(f"Region {rank} carries {share} of the similarity (+{pair.contribution:.3f}): ")
        x0, y0, x1, y1 = pair.a_box
        assert f"({x0:.0f},{y0:.0f}-{x1:.0f},{y1:.0f}, {len(pair.a_cells)} part" in line
    assert lines[-1].startswith("Everything else, ")
    carried = sum(pair.contribution for pair in regions.named)
    count = len(regions.named)
    assert f"{count} regions of each image correspond; together they carry {carried:.3f} of it" in said.describe()


def test_words_of_opposed_images_name_no_region():
    a = maps(2, shift=2.0)
    said = PairExplanation(Matcher().match(a, FeatureMaps(-a.local, a.grid)))
    assert "No regions of the two images correspond." in said.describe()
    assert "counts against the similarity" in said.describe().splitlines()[-1]


def test_the_document_holds_regions_that_sum_to_the_similarity():
    document = json.loads(json.dumps(explanation().to_dict(), allow_nan=False))
    total = sum(entry["contribution"] for entry in document["regions"]) + document["residual"]
    assert total == pytest.approx(document["similarity"], abs=1e-9)
    first = document["regions"][0]
    assert list(first) == ["kind", "a_cells", "b_cells", "a_box", "b_box", "contribution", "share"]
    assert first["share"] == pytest.approx(first["contribution"] / document["similarity"])
    nothing = FeatureMaps(torch.zeros(1, 4, 3), (2, 2))
    (entry,) = PairExplanation(Matcher().match(nothing, nothing)).to_dict()["regions"]
    assert (entry["share"], entry["a_box"]) == (None, None)


grids = st.tuples(st.integers(1, 6), st.integers(1, 6))


@settings(max_examples=50, deadline=None)
@given(st.data(), grids, st.integers(1, 5))
def test_groups_are_connected_disjoint_small_and_of_one_sign(data, grid, n):
    parts = grid[0] * grid[1]
    values = data.draw(st.lists(st.floats(-1, 1), min_size=parts, max_size=parts))
    among = data.draw(st.none() | st.sets(st.integers(0, parts - 1)))
    groups = part_groups(values, grid, n, among)
    flat = [i for group in groups for i in group]
    assert len(groups) <= n
    assert len(set(flat)) == len(flat)
    assert set(flat) <= (set(range(parts)) if among is None else among)
    for group in groups:
        assert len(group) <= max(1, parts // 3)
        largest = max(abs(values[i]) for i in group)
        assert len({math.copysign(1, values[i]) for i in group}) == 1
        assert all(abs(values[i]) >= 0.5 * largest for i in group)
        reached = {group[0]}
        for _ in group:
            reached |= {
                j
                for i in reached
                for j in group
                if sum(abs(x - y) for x, y in zip(*(divmod(k, grid[1]) for k in (i, j)), strict=True)) == 1
            }
        assert reached == set(group)


def test_regions_of_a_contrast_add_up():
    q, a, b = maps(3), maps(4), maps(5)
    contrast = Contrast(Matcher().tight().match(q, a), Matcher().tight().match(q, b))
    regions, parts = contrast.regions(), {part.cell: part for part in contrast.parts()}
    for region in regions:
        assert region.a == pytest.approx(sum(parts[cell].a for cell in region.cells), abs=1e-12)
        assert region.b == pytest.approx(sum(parts[cell].b for cell in region.cells), abs=1e-12)
    for cells in ([region.a_cells for region in regions], [region.b_cells for region in regions]):
        assert cells[0]
        flat = [cell for each in cells for cell in each]
        assert len(set(flat)) == len(flat)
    order = [abs(region.difference) for region in regions]
    assert order == sorted(order, reverse=True)
    lines = contrast.describe().split("\n\n")[1].splitlines()
    assert len(lines) == len(regions) + 1
    rest = contrast.difference - sum(region.difference for region in regions)
    assert f"{abs(rest):.3f} to the lead of A" in lines[-1]
    document = contrast.to_dict()["regions"]
    assert [entry["difference"] for entry in document] == [region.difference for region in regions]


def test_regions_of_an_agreement_add_up():
    image, others = maps(6), maps(7, n=5)
    sums = PartSums.of(Matcher().tight().match(image[[0] * 5], others))
    agreement = Agreement(sums)
    for region in agreement.regions():
        at = [row * 4 + column for row, column in region.cells]
        each = sums.contributions[:, at].sum(dim=1)
        assert region.contribution == pytest.approx(each.mean().item(), abs=1e-12)
        assert region.deviation == pytest.approx(each.std(correction=0).item(), abs=1e-12)
    lines = agreement.describe().split("\n\n")[1].splitlines()
    assert len(lines) == len(agreement.regions()) + 1
    assert [entry["contribution"] for entry in agreement.to_dict()["regions"]] == [
        region.contribution for region in agreement.regions()
    ]
