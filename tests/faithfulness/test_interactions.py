"""Interactions of cells: exact on games that can be enumerated, and found again from samples."""

import itertools

import pytest
import torch

from diml.errors import UsageError
from diml.explanation.methods import methods
from diml.explanation.methods.pixels import embed_pixels, hidden, input_pixels, mean_colour
from diml.faithfulness import ImagePair, LazyImage, interactions, reference_interactions
from diml.faithfulness.embedded_pairs import embed_pairs
from diml.faithfulness.interactions import paired_subsets, shown_similarities
from diml.faithfulness.object_rows import correlation


def every_subset(parts):
    return torch.tensor(list(itertools.product([False, True], repeat=parts)))


def banzhaf(game, parts_a, parts_b):
    """By definition (Grabisch, Roubens 1999): mean second differences, and mean differences, over the other cells."""
    subsets_a, subsets_b = every_subset(parts_a), every_subset(parts_b)
    at_a = {tuple(s.tolist()): k for k, s in enumerate(subsets_a)}
    at_b = {tuple(s.tolist()): k for k, s in enumerate(subsets_b)}

    def switched(subset, cell, shown):
        changed = list(subset)
        changed[cell] = shown
        return tuple(changed)

    pairs = torch.zeros(parts_a, parts_b, dtype=torch.float64)
    cells_a = torch.zeros(parts_a, dtype=torch.float64)
    for i, j in itertools.product(range(parts_a), range(parts_b)):
        for s, t in itertools.product(at_a, at_b):
            on, off = at_a[switched(s, i, True)], at_a[switched(s, i, False)]
            for value, sign in ((at_b[switched(t, j, True)], 1), (at_b[switched(t, j, False)], -1)):
                pairs[i, j] += sign * (game[on, value] - game[off, value])
            cells_a[i] += game[on, at_b[t]] - game[off, at_b[t]]
    count = len(at_a) * len(at_b)
    return pairs / count, cells_a / count / parts_b


def test_all_subsets_give_the_banzhaf_index_exactly():
    game = torch.randn(16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = interactions(game, every_subset(4), every_subset(3))
    pairs, cells_a = banzhaf(game, 4, 3)
    torch.testing.assert_close(found.pairs, pairs, atol=1e-12, rtol=0)
    torch.testing.assert_close(found.cells_a, cells_a, atol=1e-12, rtol=0)
    swapped = interactions(game.mT, every_subset(3), every_subset(4))
    torch.testing.assert_close(swapped.pairs, pairs.mT, atol=1e-12, rtol=0)
    torch.testing.assert_close(swapped.cells_b, cells_a, atol=1e-12, rtol=0)


def test_all_subsets_give_four_times_the_mean_of_the_signed_similarity():
    game = torch.randn(16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    signs = 2 * every_subset(4).double() - 1
    expected = 4 * torch.einsum("nm,ni,mj->ij", game, signs, signs) / 256
    torch.testing.assert_close(interactions(game, every_subset(4), every_subset(4)).pairs, expected, atol=1e-12, rtol=0)


def test_a_game_of_pairs_is_found_again_from_a_sample():
    generator = torch.Generator().manual_seed(2)
    true = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    shown_a, shown_b = paired_subsets(24, 6, generator), paired_subsets(24, 5, generator)
    game = shown_a.double() @ true @ shown_b.double().mT + 3.0
    torch.testing.assert_close(interactions(game, shown_a, shown_b).pairs, true, atol=1e-9, rtol=0)


def test_subsets_come_with_their_complements():
    shown = paired_subsets(40, 7, torch.Generator().manual_seed(0))
    assert shown.shape == (40, 7)
    assert torch.equal(shown[::2], ~shown[1::2])
    assert (shown.double().mean(dim=0) == 0.5).all()


def seen(model, noise_image, grid=(4, 4)):
    images = [LazyImage(f"{s}", lambda s=s: noise_image(s)) for s in (1, 2)]
    [each], _ = embed_pairs(model, [ImagePair(*images, "one")])
    return each


def test_similarities_are_those_of_the_images_that_show_these_cells(small_model, noise_image):
    """On 2 x 2 cells, all subsets of both images, one image at a time."""
    model = small_model(grid=(2, 2))
    each = seen(model, noise_image)
    every = every_subset(4)
    found = shown_similarities(each.given, every, every, "mean", batch_size=5)
    assert found.shape == (16, 16)
    pixels = [input_pixels(each.given.model, image) for image in (each.given.image_a, each.given.image_b)]
    for s, t in ((0, 15), (5, 9), (15, 15), (3, 0)):
        a, b = (
            embed_pixels(model, hidden(image, mean_colour(image), ~every[[k]], (2, 2)))
            for image, k in zip(pixels, (s, t), strict=True)
        )
        assert found[s, t].item() == pytest.approx(model.similarity(a, b).item(), abs=2e-6)
    exact = model.similarity(each.given.maps_a, each.given.maps_b).item()
    assert found[15, 15].item() == pytest.approx(exact, abs=2e-6)


def test_many_subsets_come_near_the_exact_interactions(small_model, noise_image):
    model = small_model(grid=(2, 2), weight=0.5)
    each = seen(model, noise_image)
    exact = interactions(shown_similarities(each.given, every_subset(4), every_subset(4)), *[every_subset(4)] * 2)
    [found] = reference_interactions([each], subsets=96, seed=3)
    assert found.subsets == 96
    assert correlation(found.whole.pairs, exact.pairs) > 0.95
    assert correlation(found.halves[0].pairs, found.halves[1].pairs) > 0.8
    [again] = reference_interactions([each], subsets=96, seed=3)
    assert torch.equal(found.whole.pairs, again.whole.pairs)


def test_only_the_pair_of_cells_that_matters_interacts(small_model, noise_image, one_cell):
    """Where one cell of each image depends on it, nothing but that pair and these cells count."""
    model = small_model(one_cell((1, 2)), weight=0.0)
    each = seen(model, noise_image)
    [found] = reference_interactions([each])
    size = found.whole.pairs.abs().flatten()
    assert size.argmax() == 6 * 16 + 6
    rest = size.clone()
    rest[6 * 16 + 6] = 0
    assert rest.max() < 1e-4 * size.max()
    assert found.whole.cells_a.abs().argmax() == 6


def test_too_few_subsets_are_refused(small_model, noise_image):
    each = seen(small_model(), noise_image)
    with pytest.raises(UsageError, match="at least 8 subsets for each of the 16 cells, so 128 or more, got 64"):
        reference_interactions([each], subsets=64)
    with pytest.raises(UsageError, match="expected a multiple of 4"):
        reference_interactions([each], subsets=130)
    with pytest.raises(UsageError, match="expected one of the fills"):
        reference_interactions([each], fill="white")


@pytest.mark.parametrize("name", ["structural", "structural-only", "bilinear", "nearest", "emd", "random"])
@pytest.mark.parametrize("weights", [None, "norm2"])
def test_contributions_of_pairs_sum_to_what_a_method_accounts_for(name, weights, small_model, noise_image):
    model = small_model(eps=0.2).with_weights(weights)
    given = seen(model, noise_image).given
    found = methods([name])[0].explain(given)
    assert found.contributions.shape == (16, 16)
    if found.total is not None:
        assert found.contributions.sum().item() == pytest.approx(found.total, abs=1e-9)
        rows = found.contributions.sum(dim=1).reshape(4, 4)
        torch.testing.assert_close(rows.double(), found.heat_a.double(), atol=1e-9, rtol=0)
        assert abs(found.residual) < 1e-9


def test_the_heat_of_weighted_parts_is_weighted(small_model, noise_image):
    given = seen(small_model().with_weights("norm2"), noise_image).given
    alpha = given.maps_a.weights[0].double()
    heat = methods(["nearest"])[0].explain(given).heat_a.flatten()
    a, b = (torch.nn.functional.normalize(maps.local[0].double(), dim=-1) for maps in (given.maps_a, given.maps_b))
    torch.testing.assert_close(heat, alpha * (a @ b.mT).amax(dim=1), atol=1e-6, rtol=0)
    assert methods(["emd"])[0].explain(given).correspondence.sum(dim=1) == pytest.approx(alpha, abs=1e-5)
