"""Deletion and insertion on models of which it is known which cells matter."""

import pytest
import torch

from diml.errors import UsageError
from diml.explanation.methods.pixels import blurred, embed_pixels, in_input_size, input_pixels
from diml.faithfulness import ImagePair, LazyImage, removal_curves
from diml.faithfulness.embedded_pairs import embed_pairs
from diml.faithfulness.removal import removed


@pytest.fixture
def seen(noise_image):
    """n pairs of a noise image with itself or another, as a model sees them."""

    def of(model, *seeds):
        pictures = {seed: LazyImage(f"{seed}.png", lambda s=seed: noise_image(s)) for pair in seeds for seed in pair}
        return embed_pairs(model, [ImagePair(pictures[a], pictures[b], str(a)) for a, b in seeds])[0]

    return of


def one_hot(cell):
    heat = torch.zeros(4, 4)
    heat[cell] = 1.0
    return heat


def test_to_hide_the_right_cell_first_drops_more(small_model, one_cell, seen):
    model = small_model(one_cell((1, 2)), weight=0.0)
    pairs = seen(model, (1, 1), (2, 2))
    heats = {"right": [one_hot((1, 2))] * 2, "wrong": [-one_hot((1, 2))] * 2}
    curves = removal_curves(model, pairs, heats, steps=16)
    right, wrong = curves["right"], curves["wrong"]
    whole, hidden = right.deletion[:, 0, 0], right.deletion[:, -1, 0]
    assert (whole > hidden + 0.01).all()
    # Only the one cell matters: the curve is a step, at the first removal or at the last.
    torch.testing.assert_close(right.deletion[:, 1:, 0], hidden[:, None].expand(-1, 16), atol=1e-6, rtol=0)
    torch.testing.assert_close(wrong.deletion[:, :-1, 0], whole[:, None].expand(-1, 16), atol=1e-6, rtol=0)
    gain = wrong.areas("deletion") - right.areas("deletion")
    torch.testing.assert_close(gain[:, 0], (whole - hidden) * 15 / 16, atol=1e-6, rtol=0)
    torch.testing.assert_close(right.areas("insertion") - wrong.areas("insertion"), gain, atol=1e-6, rtol=0)


def test_each_point_of_a_curve_is_the_similarity_of_the_image_so_hidden(small_model, seen):
    """By hand, one image at a time, with the pixels of the cells written out."""
    model = small_model()
    pairs = seen(model, (1, 2), (3, 4))
    heats = [torch.rand(4, 4, generator=torch.Generator().manual_seed(s)) for s in (5, 6)]
    curves = removal_curves(model, pairs, {"some": heats}, steps=4, batch_size=3)["some"]
    assert curves.shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
    for p, (each, heat) in enumerate(zip(pairs, heats, strict=True)):
        pixels = input_pixels(model, each.given.image_a)
        soft = blurred(pixels)
        for step in range(5):
            first = heat.flatten().argsort(descending=True)[: 4 * step].tolist()
            deleted, inserted = pixels.clone(), soft.clone()
            for cell in first:
                y, x = 8 * (cell // 4), 8 * (cell % 4)
                deleted[:, y : y + 8, x : x + 8] = soft[:, y : y + 8, x : x + 8]
                inserted[:, y : y + 8, x : x + 8] = pixels[:, y : y + 8, x : x + 8]
            for found, image in ((curves.deletion, deleted), (curves.insertion, inserted)):
                scores = model.matcher.pairs(
                    embed_pixels(model, image[None]), each.given.maps_b, *torch.zeros(2, 1).long()
                )
                expected = torch.stack([scores.similarity[0], scores.pooled[0]]).double()
                torch.testing.assert_close(found[p, step], expected, atol=2e-6, rtol=0)


def test_the_measured_image_is_hidden_and_a_one_sided_match_keeps_its_sides(small_model, seen):
    from dataclasses import replace

    model = small_model(transport="one-sided", weight=1.0)
    [each] = seen(model, (1, 2))
    mixed = [each, replace(each, pair=replace(each.pair, measured="b"))]
    heats = [torch.rand(4, 4, generator=torch.Generator().manual_seed(s)) for s in (5, 6)]
    curves = removal_curves(model, mixed, {"some": heats}, steps=1)["some"]
    given = each.given
    hidden = [blurred(input_pixels(model, image))[None] for image in (given.image_a, given.image_b)]
    blurred_a, blurred_b = (embed_pixels(model, image) for image in hidden)
    expected = [
        [model.similarity(given.maps_a, given.maps_b), model.similarity(blurred_a, given.maps_b)],
        [model.similarity(given.maps_a, given.maps_b), model.similarity(given.maps_a, blurred_b)],
    ]
    torch.testing.assert_close(curves.deletion[:, :, 0], torch.tensor(expected).double(), atol=2e-6, rtol=0)


def test_all_methods_begin_and_end_alike(small_model, seen):
    model = small_model()
    pairs = seen(model, (1, 2))
    heats = {str(s): [torch.rand(4, 4, generator=torch.Generator().manual_seed(s))] for s in range(3)}
    curves = list(removal_curves(model, pairs, heats, steps=5, fill="mean").values())
    for each in curves:
        assert torch.equal(each.deletion[:, 0], curves[0].deletion[:, 0])
        assert torch.equal(each.deletion[:, -1], curves[0].insertion[:, 0])
        assert torch.equal(each.insertion[:, -1], curves[0].deletion[:, 0])


def test_a_pairs_curve_does_not_depend_on_the_others(small_model, seen):
    model = small_model()
    heats = [torch.rand(4, 4, generator=torch.Generator().manual_seed(s)) for s in (5, 6)]
    both = removal_curves(model, seen(model, (1, 2), (3, 4)), {"some": heats}, batch_size=7)["some"]
    alone = removal_curves(model, seen(model, (1, 2)), {"some": heats[:1]}, batch_size=2)["some"]
    torch.testing.assert_close(both.deletion[:1], alone.deletion, atol=1e-6, rtol=0)


def test_images_that_several_methods_ask_for_are_embedded_once(small_model, seen):
    model = small_model()
    pairs = seen(model, (1, 2))
    heat = torch.rand(4, 4)
    counted = []
    removal_curves(model, pairs, {"a": [heat], "b": [2 * heat]}, progress=lambda done, total: counted.append(total))
    # 8 steps: 7 images on the way of deletion, 7 of insertion, and the two ends.
    assert counted == [16]


def test_ties_are_not_broken_row_by_row(small_model, seen):
    model = small_model()
    pairs = seen(model, *((s, s) for s in range(8)))
    flat = [torch.zeros(4, 4)] * 8
    curves = [removal_curves(model, pairs, {"flat": flat}, seed=seed)["flat"].deletion for seed in (0, 0, 1)]
    assert torch.equal(curves[0], curves[1])
    assert not torch.equal(curves[0], curves[2])


def test_what_cannot_be_removed(small_model, seen):
    model = small_model()
    pairs = seen(model, (1, 2))
    with pytest.raises(UsageError, match="expected heats of the model's 16 cells, got one of 9"):
        removal_curves(model, pairs, {"a": [torch.zeros(3, 3)]})
    with pytest.raises(UsageError, match="expected steps >= 1, got 0"):
        removal_curves(model, pairs, {"a": [torch.zeros(4, 4)]}, steps=0)
    with pytest.raises(UsageError, match="expected one of the fills blur, mean, got 'white'"):
        removal_curves(model, pairs, {"a": [torch.zeros(4, 4)]}, fill="white")


def test_removal_is_nested():
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    masks = removed(order, torch.arange(10))
    assert masks.sum(dim=1).tolist() == list(range(10))
    assert (masks[1:] | ~masks[:-1]).all()
    assert masks[1].nonzero().item() == order[0]


def test_a_cropping_model_sees_its_crop_once(small_model, noise_image):
    """The images are cropped when they are read, and not again when they are hidden."""
    import dataclasses

    model = small_model()
    model.encoder.preprocessing = dataclasses.replace(model.encoder.preprocessing, fit="crop", crop=0.5)
    picture = LazyImage("wide.png", lambda: noise_image(1, (100, 60)))
    [each], failed = embed_pairs(model, [ImagePair(picture, picture, "")])
    assert not failed
    direct = model.encode(noise_image(1, (100, 60)))
    torch.testing.assert_close(each.given.maps_a.local, direct.local)
    again = in_input_size(model).encode(each.given.image_a)
    torch.testing.assert_close(again.local, direct.local)
