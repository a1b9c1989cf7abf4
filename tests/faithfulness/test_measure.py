"""A whole run on a small model, its report, tables and figures."""

import json
import math

import pytest

from diml.errors import DatasetError, UsageError
from diml.explanation.methods import methods
from diml.faithfulness import (
    FaithfulnessSettings,
    ImagePair,
    LazyImage,
    curves_figure,
    keypoints_figure,
    measure_faithfulness,
    open_pairs,
    summary,
    tables,
)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, noise_image):
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    for seed in (1, 2):
        # Coarse enough that small cells can tell its places apart, whatever is done to it.
        noise_image(seed, (8, 8)).resize((96, 96), Image.Resampling.BICUBIC).save(folder / f"{seed}.png")
    return open_pairs(str(folder), 18)[1]


@pytest.fixture(scope="module")
def report(small_model, photographs):
    chosen = methods(["structural", "bilinear", "nearest", "identity", "random"])
    settings = FaithfulnessSettings(
        steps=4, fills=("blur", "mean"), against=["random"], grids=[(4, 4), (2, 2)], stable_pairs=2
    )
    return measure_faithfulness("photographs", photographs, small_model(eps=0.2), chosen, settings)


@pytest.mark.slow
def test_a_report_holds_what_was_asked_for(report):
    assert (report.pairs, report.groups, report.stable_pairs) == (18, 2, 2)
    assert report.shares == [0, 0.25, 0.5, 0.75, 1]
    heats = ["structural", "bilinear", "nearest", "random"]
    assert [row.method for row in report.removal] == 4 * heats
    assert {(row.fill, row.measured) for row in report.removal} == {
        (fill, measured) for fill in ("blur", "mean") for measured in ("similarity", "pooled")
    }
    assert [row.grid for row in report.keypoints] == 5 * [(4, 4)] + 5 * [(2, 2)]
    assert [row.method for row in report.accounts] == [*heats[:3], "identity", "random"]
    chance = next(row for row in report.removal if row.method == "random")
    deletion, insertion = chance.deletion_gain["random"], chance.insertion_gain["random"]
    assert (deletion.mean, deletion.low, insertion.high) == (0, 0, 0)


@pytest.mark.slow
def test_claims_are_kept(report):
    accounts = {row.method: row for row in report.accounts}
    assert accounts["structural"].residual < 1e-12
    assert accounts["structural"].gap < 1e-12
    assert accounts["bilinear"].residual < 1e-12
    assert accounts["bilinear"].gap > 1e-3  # it accounts for another number than the model ranks by
    assert accounts["random"].residual is None
    assert accounts["identity"].stability["noise"] == pytest.approx(1.0)
    assert all(row.milliseconds > 0 for row in report.accounts)


@pytest.mark.slow
def test_the_same_picture_is_found_again(report):
    """Cells that see nothing but themselves: the identity warp is exact for whoever compares features."""
    for row in report.keypoints:
        if row.method in ("structural", "nearest", "identity"):
            assert row.by_kind["same"] == 1.0
        if row.method == "identity":
            assert row.by_kind["flip"] == 0.0
        if row.method != "random":
            assert row.right.mean <= row.best
    structural = next(row for row in report.keypoints if row.method == "structural")
    assert structural.right.mean > 3 * structural.chance


@pytest.mark.slow
def test_it_is_json(report):
    document = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert document["removal"][0]["deletion_gain"]["random"].keys() == {"mean", "low", "high"}
    assert document["keypoints"][0]["grid"] == [4, 4]
    assert document["matching"]["marginals"] == "uniform"


@pytest.mark.slow
def test_tables_are_markdown(report):
    text = tables(report)
    assert "18 pairs of 2 classes or photographs" in summary(report)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    # Two fills times two similarities; two grids twice; the accounts. Heads and rules besides.
    assert len(rows) == 4 * (4 + 2) + 2 * (5 + 2) + 2 * (6 + 2) + (5 + 2)
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
            assert len({len(line) for line in block.splitlines()}) == 1
    assert "nan" not in text


@pytest.mark.slow
def test_pictures_show_every_method(report):
    figure = curves_figure(report, "blur")
    assert [len(axes.lines) for axes in figure.axes] == [4, 4]
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 4
    dots = keypoints_figure(report)
    assert [axes.get_title() for axes in dots.axes] == ["4x4 cells", "2x2 cells"]


def test_chance_is_always_there(small_model, photographs):
    settings = FaithfulnessSettings(measures=("deletion",), steps=2, against=())
    found = measure_faithfulness("x", photographs[:3], small_model(), methods(["structural"]), settings)
    assert [row.method for row in found.accounts] == ["structural", "random"]
    assert not found.keypoints
    assert found.stable_pairs == 0
    assert found.accounts[0].stability == {}
    assert "noise" not in tables(found)


def test_gains_can_be_counted_over_other_methods(small_model, photographs):
    settings = FaithfulnessSettings(measures=("deletion",), steps=2, against=("centre", "random"))
    found = measure_faithfulness("x", photographs[:2], small_model(), methods(["bilinear"]), settings)
    rows = {row.method: row for row in found.removal if row.measured == "pooled"}
    assert list(rows) == ["bilinear", "centre", "random"]
    for row in rows.values():
        for name in settings.against:
            less, more = row.deletion_gain[name].mean, row.insertion_gain[name].mean
            assert less == pytest.approx(rows[name].deletion - row.deletion, abs=1e-12)
            assert more == pytest.approx(row.insertion - rows[name].insertion, abs=1e-12)
    assert tables(found).count("over centre | ") == 4


def test_it_repeats(small_model, photographs):
    chosen, settings = methods(["structural", "sbsm"]), FaithfulnessSettings(measures=("deletion",), steps=3)
    one, other = (measure_faithfulness("x", photographs[7:11], small_model(), chosen, settings) for _ in range(2))
    assert one.removal == other.removal


def test_grids_that_a_model_cannot_give_are_left_out_or_refused(small_model, photographs):
    from torch import nn

    model = small_model(nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.AdaptiveAvgPool2d(4)))
    settings = FaithfulnessSettings(measures=("correspondence",))
    found = measure_faithfulness("x", photographs[:2], model, methods(["nearest"]), settings)
    assert {row.grid for row in found.keypoints} == {(4, 4)}
    assert [name for name, _ in found.skipped] == ["grid 7x7", "grid 14x14"]
    with pytest.raises(UsageError, match="a grid of 7x7 needs an input of 64x64 pixels"):
        measure_faithfulness("x", photographs[:2], model, methods(["nearest"]), FaithfulnessSettings(grids=[(7, 7)]))


def test_when_nothing_can_be_read(small_model):
    from diml.errors import ImageError

    def broken():
        raise ImageError("x.png: is broken")

    image = LazyImage("x", broken)
    with pytest.raises(DatasetError, match=r"x: none of its 1 pairs can be read, such as x\.png: is broken"):
        measure_faithfulness("x", [ImagePair(image, image, "")], small_model(), methods())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"measures": ("magic",)}, "expected one of the measures deletion, objects, .* interactions, got 'magic'"),
        ({"fills": ("white",)}, "expected one of the fills blur, mean, got 'white'"),
        ({"against": ["identity"]}, "the method identity gives no heat to compare with; use random or centre"),
        ({"against": ["magic"]}, "expected one of the methods .*, got 'magic'"),
        ({"steps": 0}, "expected steps >= 1, got 0"),
        ({"stable_pairs": 0}, "expected stable pairs >= 1, got 0"),
        ({"subsets": 0}, "expected subsets >= 1, got 0"),
        ({"seed": -1}, "expected a seed from 0 to 4294967295, got -1"),
        ({"batch_size": 0}, "expected batch size >= 1, got 0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        FaithfulnessSettings(**wrong)


def test_a_mean_of_nothing_is_nothing():
    from diml.faithfulness.report_rows import _mean

    assert _mean([math.nan]) is None
