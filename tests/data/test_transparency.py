"""Transparent images are laid on a ground that shows what is in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diml.data import open_image
from diml.data.transparency import BLACK, WHITE, ground_of
from diml.model import StructuralModel

SAMPLE = Path(__file__).parents[2] / "sample" / "emoji"


def logo(colour: str, *, ring: bool, size: int = 128) -> Image.Image:
    """A ring, or bars, of one colour on transparency."""
    image = Image.new("RGBA", (size, size), (0, 0, 0, 0))
    draw = ImageDraw.Draw(image)
    if ring:
        draw.ellipse((size // 8, size // 8, size * 7 // 8, size * 7 // 8), outline=colour, width=size // 8)
    else:
        for at in range(1, 8, 2):
            draw.rectangle((size * at // 8, size // 8, size * (at + 1) // 8 - 1, size * 7 // 8), fill=colour)
    return image


def ground(image: Image.Image) -> tuple[int, int, int]:
    return ground_of(image.convert("RGB"), image.getchannel("A"))


@pytest.mark.parametrize("colour", ["white", "#fefefe", "#f0f0f0", "#fffff0"])
def test_a_light_logo_lies_on_black(colour: str) -> None:
    assert ground(logo(colour, ring=True)) == BLACK


@pytest.mark.parametrize("colour", ["black", "red", "yellow", "#808080", "#c0c0c0", "cyan"])
def test_other_logos_lie_on_white(colour: str) -> None:
    assert ground(logo(colour, ring=True)) == WHITE


def test_the_colour_of_transparent_pixels_does_not_matter() -> None:
    image = logo("white", ring=True, size=2000)
    hidden = Image.new("RGBA", image.size, (200, 0, 0, 0))
    hidden.paste(image, mask=image.getchannel("A"))
    assert ground(hidden) == ground(image) == BLACK


def test_an_image_of_nothing_is_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "x.png")
    assert open_image(tmp_path / "x.png").getpixel((0, 0)) == WHITE


def test_an_opaque_image_keeps_its_pixels(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (255, 255, 255, 255)).save(tmp_path / "x.png")
    assert open_image(tmp_path / "x.png").getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_in_every_mode(tmp_path: Path, mode: str) -> None:
    logo("white", ring=True).convert(mode).save(tmp_path / "x.png")
    assert open_image(tmp_path / "x.png").getpixel((64, 64)) == BLACK
    assert open_image(tmp_path / "x.png", decoding=1).getpixel((64, 64)) == WHITE


def test_all_emoji_of_the_sample_keep_what_they_were() -> None:
    files = sorted(SAMPLE.glob("*/*.png"))
    assert len(files) > 200
    for file in files:
        assert np.array_equal(np.asarray(open_image(file)), np.asarray(open_image(file, decoding=1))), file


@pytest.mark.slow
def test_a_white_ring_and_white_bars_are_told_apart() -> None:
    model = StructuralModel.from_pretrained("lite0")
    ring, bars = logo("white", ring=True), logo("white", ring=False)
    assert model.similarity(ring, bars) < 0.5
    assert model.with_decoding(1).similarity(ring, bars) > 0.95
    assert model.similarity(ring, logo("white", ring=True, size=200)) > 0.8
