"""The picture shows what the numbers say, and nothing of it overlaps or is cut off."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from diml.errors import ImageError, UsageError
from diml.explanation import NamedImage, PairExplanation, heat
from diml.explanation.drawing import pair_figure
from diml.explanation.drawing.lettering import legible, shorten, width, wrap
from diml.explanation.marks import marks_of
from diml.explanation.pair_words import pair_words
from diml.explanation.words import number
from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import Matcher

ODD_NAMES = ["$x^2$ \\frac.jpg", "a" * 400 + ".jpg", "b\udcff\n\x1b.jpg", "\u202egpj.exe", "", "\U0001f9ff\u0638.jpg"]


def draw_pair(match, image_a, image_b, *, parts=6, title_a=None, title_b=None):
    a, b = NamedImage.of(image_a, "first image"), NamedImage.of(image_b, "second image")
    a = a if title_a is None else NamedImage("", title_a, image_a)
    b = b if title_b is None else NamedImage("", title_b, image_b)
    return pair_figure(PairExplanation(match, a, b), parts)


def drawn_boxes(axes):
    return [patch for patch in axes.patches if patch.get_gid() == "part"]


def extents(figure):
    """The box of every text on the page, but for the numbers on badges, in pixels."""
    FigureCanvasAgg(figure)
    figure.set_dpi(100)
    texts = [text for text in figure.texts if not text.get_text().isdigit()]
    return [(text.get_text(), text.get_window_extent()) for text in texts]


def assert_readable(figure):
    boxes = extents(figure)
    wide, tall = figure.bbox.width, figure.bbox.height
    for text, box in boxes:
        assert 0 <= box.x0 <= box.x1 <= wide, text
        assert 0 <= box.y0 <= box.y1 <= tall, text
    for (text, box), (other, another) in combinations(boxes, 2):
        # Lines of a paragraph may touch by the height of an accent.
        across = min(box.x1, another.x1) - max(box.x0, another.x0)
        down = min(box.y1, another.y1) - max(box.y0, another.y0)
        assert across <= 0 or down <= 3, (text, other)


def test_the_marks_are_the_strongest_pairs(match):
    marks = marks_of(match, 6, (120, 80), (60, 90))
    parts = match.parts(6)
    assert [mark.pair for mark in marks] == parts
    assert [(mark.a_box, mark.b_box) for mark in marks] == [(pair.a_box, pair.b_box) for pair in parts]
    assert [mark.number for mark in marks] == [1, 2, 3, 4, 5, 6]
    assert len({mark.colour for mark in marks}) == 6
    widths = [mark.width for mark in marks]
    assert widths == sorted(widths, reverse=True)


def test_pairs_that_speak_against_it_are_dashed(match):
    marks = marks_of(match, 256, (120, 80), (60, 90))
    assert [mark.dashed for mark in marks] == [pair.contribution < 0 for pair in match.parts()]
    assert any(mark.dashed for mark in marks)


def test_without_geometry_the_grid_covers_the_image(nowhere):
    for mark in marks_of(nowhere, 16, (400, 200), (40, 40)):
        row, column = mark.pair.a
        assert mark.a_box == (column * 100, row * 50, column * 100 + 100, row * 50 + 50)


def test_boxes_are_drawn_where_the_numbers_are(match, image_a, image_b):
    figure = draw_pair(match, image_a, image_b, parts=5)
    for axes, boxes in zip(
        figure.axes[:2], zip(*[(p.a_box, p.b_box) for p in match.parts(5)], strict=True), strict=True
    ):
        drawn = drawn_boxes(axes)[::-1]  # the strongest is drawn last
        assert len(drawn) == 5
        for patch, (x0, y0, x1, y1) in zip(drawn, boxes, strict=True):
            left, top, right, bottom = _corners(patch)
            assert x0 < left < right < x1
            assert y0 < top < bottom < y1
            assert (left + right) / 2 == pytest.approx((x0 + x1) / 2)
            assert (top + bottom) / 2 == pytest.approx((y0 + y1) / 2)


def _corners(patch):
    return patch.get_x(), patch.get_y(), patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height()


def test_boxes_that_share_a_cell_stay_apart(match, image_a, image_b):
    figure = draw_pair(match, image_a, image_b, parts=16)
    for axes in figure.axes[:2]:
        corners = [_corners(patch) for patch in drawn_boxes(axes)]
        assert len({tuple(np.round(each, 6)) for each in corners}) == 16
        assert all(right > left and bottom > top for left, top, right, bottom in corners)


def test_pairs_are_joined_and_lines_start_apart(match, image_a, image_b):
    figure = draw_pair(match, image_a, image_b, parts=12)
    curves = [each for each in figure.patches + figure.artists if each.get_gid() == "joint"]
    assert len(curves) == 12
    starts = [tuple(curve.get_path().vertices[0].round(6)) for curve in curves]
    assert len(set(starts)) == 12


def test_the_words_and_numbers_are_on_the_page(match, image_a, image_b):
    figure = draw_pair(match, image_a, image_b, title_a="left.jpg", title_b="right.jpg")
    shown = [text.get_text() for text in figure.texts]
    assert number(float(match.similarity[0])) in shown
    assert {"left.jpg", "right.jpg"} <= set(shown)
    assert number(float(heat(match)[0][0, 0])) in shown
    for sentence in pair_words(match, match.parts(6)).sentences:
        assert sentence in " ".join(shown)


def test_no_more_pairs_are_drawn_than_listed(match, image_a, image_b):
    figure = draw_pair(match, image_a, image_b, parts=99999)
    assert len(drawn_boxes(figure.axes[0])) == 16
    assert "The 16 pairs of parts shown account for" in " ".join(text.get_text() for text in figure.texts)


def test_heat_has_one_scale_centred_on_zero(match, image_a, image_b):
    figure = draw_pair(match, image_a, image_b)
    heats = heat(match)
    largest = max(float(each.abs().max()) for each in heats)
    for axes, each in zip(figure.axes[2:4], heats, strict=True):
        cells = axes.images[1]
        assert np.allclose(cells.get_array(), each.numpy())
        assert cells.get_clim() == (-largest, largest)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_stay_on_the_page(match, image_a, image_b, name, recwarn):
    figure = draw_pair(match, image_a, image_b, title_a=name, title_b=name)
    assert_readable(figure)
    assert not [each for each in recwarn if "Glyph" in str(each.message)]


@pytest.mark.parametrize("sizes", [((1, 1), (16, 16)), ((4000, 30), (30, 4000)), ((300, 400), (400, 300))])
def test_any_shape_is_readable(sizes, tmp_path):
    generator = torch.Generator().manual_seed(0)
    images = [Image.new("RGB", size, "white") for size in sizes]
    maps = [
        FeatureMaps(
            torch.randn(1, 16, 8, generator=generator) + 0.5,
            (4, 4),
            geometry=Geometry(torch.tensor([size]), torch.tensor([[0.0, 0.0, *map(float, size)]], dtype=torch.float64)),
        )
        for size in sizes
    ]
    assert_readable(draw_pair(Matcher().match(*maps), *images, parts=20))


def test_all_parts_of_one_cell_and_of_nothing(image_a, image_b):
    one, nothing = FeatureMaps(torch.ones(1, 1, 4), (1, 1)), FeatureMaps(torch.zeros(1, 4, 4), (2, 2))
    assert_readable(draw_pair(Matcher().match(one, one), image_a, image_b, parts=9))
    figure = draw_pair(Matcher().match(nothing, nothing), image_a, image_b)
    assert_readable(figure)
    assert "0.000" in [text.get_text() for text in figure.texts]


def test_a_crop_is_heated_only_where_the_model_looked(match, image_a, image_b):
    geometry = Geometry(torch.tensor([[120, 80]]), torch.tensor([[20.0, -10.0, 100.0, 90.0]], dtype=torch.float64))
    cropped = FeatureMaps(match.maps_a.local, (4, 4), geometry=geometry)
    figure = draw_pair(Matcher().match(cropped, match.maps_b), image_a, image_b)
    axes = figure.axes[2]
    assert axes.images[1].get_extent() == [20, 100, 90, -10]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 120), (80, 0))


def test_a_thumbnail_stands_in_for_its_original(match, image_a, image_b):
    figure = draw_pair(match, image_a.resize((12, 8)), image_b.resize((6, 9)), parts=1)
    assert figure.axes[0].get_xlim() == (0, 120)


def test_paths_are_opened_and_named(match, image_a, image_b, tmp_path):
    image_a.save(tmp_path / "left $1.png")
    image_b.save(tmp_path / "right.png")
    figure = draw_pair(match, tmp_path / "left $1.png", str(tmp_path / "right.png"))
    assert {"left $1.png", "right.png"} <= {text.get_text() for text in figure.texts}
    with pytest.raises(ImageError, match=r"none\.png"):
        draw_pair(match, tmp_path / "none.png", image_b)


def test_no_parts_and_several_pairs_are_refused(match, image_a, image_b):
    with pytest.raises(UsageError, match="expected parts >= 1"):
        draw_pair(match, image_a, image_b, parts=0)
    two = FeatureMaps(torch.ones(2, 4, 3), (2, 2))
    with pytest.raises(UsageError, match=r"match\[i\]"):
        draw_pair(Matcher().match(two, two), image_a, image_b)


@pytest.mark.slow
def test_no_display_and_no_heavy_import(tmp_path):
    code = (
        "import sys, diml.explanation\n"
        "assert not {'torch', 'matplotlib', 'PIL'} & set(sys.modules)\n"
        "import torch\n"
        "from diml.feature_maps import FeatureMaps\n"
        "from diml.matching import Matcher\n"
        "from PIL import Image\n"
        "maps = FeatureMaps(torch.eye(4)[None], (2, 2))\n"
        "diml.explanation.draw_match(Matcher().match(maps, maps), sys.argv[1], Image.new('RGB', (9, 9)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "why.png"], check=True)


def test_text_fits_its_width():
    for text in ("DSC_0001_" * 30, "WWWW" * 40, "iiii" * 200, "$a_b$" * 50):
        assert width(shorten(text, 2, 10), 10) <= 2
        assert all(width(line, 10) <= 2 for line in wrap(f"some {text} and words", 2, 10))
    assert shorten("short.jpg", 2, 10) == "short.jpg"
    assert legible("\x00\udcff")[0] == r" \xff"
    assert legible("\u65e5\U0010fffd")[0] in (r"\u65e5\U0010fffd", "\u65e5\\U0010fffd")  # by the machine's fonts
