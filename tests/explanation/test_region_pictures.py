"""Outlines as numbers, and what pictures with regions show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path

from diml.explanation import Agreement, Contrast, NamedImage, PairExplanation, PartSums
from diml.explanation.drawing import agreement_figure, contrast_figure, pair_figure
from diml.explanation.outlines import CellGrid, grid_loops, outline
from diml.explanation.shared_regions import counterparts
from diml.matching import Matcher

cell_sets = st.sets(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1)


def signed_area(loop):
    x, y = np.array(loop, dtype=float).T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2)


@given(cell_sets)
def test_outlines_enclose_the_area_of_the_cells(cells):
    # Holes run the other way round, so their areas are subtracted.
    total = sum(signed_area([(column, row) for row, column in loop]) for loop in grid_loops(cells))
    assert total == len(cells)


@given(cell_sets)
def test_an_inset_outline_contains_the_middle_of_its_cells_and_no_other(cells):
    boxes = [(10 * c, 20 * r, 10 * c + 10, 20 * r + 20) for r in range(5) for c in range(5)]
    loops = outline(cells, CellGrid((5, 5), boxes), (1, 1))
    area = sum(signed_area(loop) for loop in loops)
    assert area < 200 * len(cells)
    for row in range(5):
        for column in range(5):
            middle = 10 * column + 5, 20 * row + 10
            around = sum(Path([*loop, loop[0]]).contains_point(middle) for loop in loops)
            assert (around % 2 == 1) == ((row, column) in cells)


def test_an_outline_by_hand():
    boxes = [(0, 0, 10, 10), (10, 0, 20, 10), (0, 10, 10, 20), (10, 10, 20, 20)]
    (loop,) = outline([(0, 0), (0, 1), (1, 0)], CellGrid((2, 2), boxes), (1, 2))
    assert loop == [(1, 2), (19, 2), (19, 8), (9, 8), (9, 18), (1, 18)]


def patches(figure, gid):
    return [patch for axes in figure.axes for patch in axes.patches if patch.get_gid() == gid]


def texts(figure):
    return [text.get_text() for text in figure.texts]


@pytest.fixture
def named(image_a, image_b):
    return NamedImage.of(image_a, "first"), NamedImage.of(image_b, "second")


def test_a_picture_outlines_every_region_in_both_images_and_states_its_share(match, named):
    explanation = PairExplanation(match, *named)
    figure, regions = pair_figure(explanation), explanation.regions()
    assert len(patches(figure, "region")) == 2 * len(regions.named)
    shares = [f"{100 * pair.share:.0f} %" for pair in regions.named if pair.share >= 0.0995]
    assert shares
    assert all(share in texts(figure) for share in shares)
    assert "everything else" in texts(figure)
    # Two images, and two crops of each region.
    assert len(figure.axes) == 2 + 2 * len(regions.named)


def test_a_number_of_parts_draws_pairs_in_place_of_regions(match, named):
    figure = pair_figure(PairExplanation(match, *named), parts=3)
    assert not patches(figure, "region")
    assert len(patches(figure, "part")) == 6


def test_a_contrast_outlines_its_regions_in_three_images(match, named):
    contrast = Contrast(match, Matcher().tight().match(match.maps_a, match.maps_a), named[0], *named)
    regions = contrast.regions()
    drawn = sum(1 + bool(region.a_cells) + bool(region.b_cells) for region in regions)
    assert len(patches(contrast_figure(contrast), "region")) == drawn
    assert not patches(contrast_figure(contrast, parts=2), "region")


def test_an_agreement_outlines_its_regions_and_their_counterparts(match, named):
    sums = PartSums.of([match, match])
    agreement = Agreement(sums, named[0], [named[1]] * 2)
    regions = agreement.regions()
    found = counterparts(sums, 0, regions)
    flat = [cell for cells in found for cell in cells]
    assert len(set(flat)) == len(flat)
    drawn = len(regions) + 2 * sum(bool(cells) for cells in found)
    assert len(patches(agreement_figure(agreement), "region")) == drawn
    assert not patches(agreement_figure(agreement, parts=2), "region")
