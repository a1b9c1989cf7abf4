"""Every kind of image file that a person may come with: what is read, and what is refused in one sentence."""

from __future__ import annotations

import os
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from diml.data import opening
from diml.data.images import open_image, to_rgb
from diml.data.printable import printable
from diml.errors import ImageError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> Image.Image:
    """4 x 2 pixels, its corners red, green, blue and white: every way to turn it looks different."""
    image = Image.new("RGB", (4, 2), "black")
    for place, colour in {(0, 0): RED, (3, 0): GREEN, (0, 1): BLUE, (3, 1): WHITE}.items():
        image.putpixel(place, colour)
    return image


def photo(size: tuple[int, int] = (64, 48)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


def png_header(width: int, height: int) -> bytes:
    """A PNG of this size that has no pixels: reading further than its header fails otherwise."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(path)
    message = str(caught.value)
    assert message.startswith(f"{printable(path)}: ")
    assert "\n" not in message
    return message.removeprefix(f"{printable(path)}: ")


@pytest.mark.parametrize("ending", ["png", "webp", "gif", "bmp", "tiff", "ppm", "jpg", "avif"])
def test_reads_the_raster_formats(tmp_path: Path, ending: str) -> None:
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    file = tmp_path / f"plain.{ending}"
    Image.new("RGB", (16, 8), (200, 0, 0)).save(file)
    image = open_image(file)
    assert (type(image), image.mode, image.size) == (Image.Image, "RGB", (16, 8))
    assert np.abs(np.asarray(image).astype(int) - [200, 0, 0]).max() < 12


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), RED).save(tmp_path / "one.png")
    assert open_image(tmp_path / "one.png").getpixel((0, 0)) == RED


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, orientation: int) -> None:
    stored = corners()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    upright = open_image(tmp_path / "turned.png")
    # What the EXIF standard says is in the first row and first column of the stored image.
    first = {1: RED, 2: GREEN, 3: WHITE, 4: BLUE, 5: RED, 6: BLUE, 7: WHITE, 8: GREEN}[orientation]
    assert upright.size == ((4, 2) if orientation < 5 else (2, 4))
    assert upright.getpixel((0, 0)) == first
    assert to_rgb(upright).getpixel((0, 0)) == first


def test_exif_orientation_of_a_tiff_is_applied_once(tmp_path: Path) -> None:
    corners().save(tmp_path / "turned.tiff", tiffinfo={0x0112: 6})
    upright = open_image(tmp_path / "turned.tiff")
    assert (upright.size, upright.getpixel((0, 0))) == ((2, 4), BLUE)


def test_broken_exif_is_as_none(tmp_path: Path) -> None:
    photo().save(tmp_path / "exif.jpg", exif=b"Exif\0\0nonsense")
    assert open_image(tmp_path / "exif.jpg").size == (64, 48)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    clear, half = (255, 0, 0, 0), (0, 0, 0, 128)
    image = Image.new("RGBA", (2, 1), clear)
    image.putpixel((1, 0), half)
    image.save(tmp_path / "rgba.png")
    image.convert("LA").save(tmp_path / "la.png")
    for name in ("rgba.png", "la.png"):
        read = open_image(tmp_path / name)
        assert read.getpixel((0, 0)) == WHITE
        assert read.getpixel((1, 0)) == (127, 127, 127)
    assert to_rgb(image.convert("RGBa")).getpixel((0, 0)) == WHITE
    assert to_rgb(image.convert("LA").convert("La")).getpixel((1, 0)) == (127, 127, 127)


def test_palette_with_alpha_lies_on_white(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "index.png", transparency=0)
    image.save(tmp_path / "bytes.png", transparency=bytes([0, 128]))
    image.save(tmp_path / "plain.png")
    assert [open_image(tmp_path / "index.png").getpixel((x, 0)) for x in (0, 1)] == [WHITE, BLUE]
    assert [open_image(tmp_path / "bytes.png").getpixel((x, 0)) for x in (0, 1)] == [WHITE, (127, 127, 255)]
    assert [open_image(tmp_path / "plain.png").getpixel((x, 0)) for x in (0, 1)] == [RED, BLUE]


def test_a_colour_key_is_transparent(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), RED).save(tmp_path / "key.png", transparency=RED)
    assert open_image(tmp_path / "key.png").getpixel((0, 0)) == WHITE


def test_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    red, green, blue = np.asarray(open_image(tmp_path / "cmyk.jpg"))[8, 8]
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_16_bit_grey_keeps_its_range(tmp_path: Path, ending: str) -> None:
    values = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / f"deep.{ending}")
    assert np.asarray(open_image(tmp_path / f"deep.{ending}"))[0].tolist() == [[0] * 3, [100] * 3, [255] * 3]


def test_16_bit_colour(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">6H", 257 * 10, 257 * 20, 257 * 30, 0, 65535, 0)
    header = b"IHDR" + struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    chunks = [header, b"IDAT" + zlib.compress(row), b"IEND"]
    body = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    image = open_image(tmp_path / "deep.png")
    assert [image.getpixel((x, 0)) for x in (0, 1)] == [(10, 20, 30), GREEN]


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1000.0, 0.0, 1000.0], [0, 128, 255]),
        ([0.0, 0.0, 0.0], [0, 0, 0]),
    ],
)
def test_floating_point_pixels_are_scaled(values: list[float], seen: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == seen


def test_32_bit_integers_are_scaled() -> None:
    image = Image.fromarray(np.array([[0, 257 * 7, 65535]], dtype=np.int32))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [0, 7, 255]
    image = Image.fromarray(np.array([[-(2**31), 0, 2**31 - 1]], dtype=np.int32))
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_numbers(tmp_path: Path, bad: float) -> None:
    Image.fromarray(np.array([[0.0, bad]], dtype=np.float32)).save(tmp_path / "nan.tiff")
    assert "not finite numbers (NaN or infinite)" in refusal(tmp_path / "nan.tiff")
    with pytest.raises(ImageError, match=r"^the image: has pixels that are not finite"):
        to_rgb(Image.fromarray(np.array([[0.0, bad]], dtype=np.float32)))


@pytest.mark.parametrize("ending", ["gif", "webp", "png"])
def test_the_first_frame_of_an_animation(tmp_path: Path, ending: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    file = tmp_path / f"moving.{ending}"
    frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True)
    assert open_image(file).getpixel((4, 4)) == RED


def test_missing(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no.jpg") == "there is no such file; check the path"


def test_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder; expected an image file"


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "zero.jpg").touch()
    assert refusal(tmp_path / "zero.jpg") == "is empty (0 bytes); replace it or leave it out"


def test_text_named_jpg(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture at all\n" * 10)
    message = refusal(tmp_path / "text.jpg")
    assert message.startswith("is not an image in a format that is read here (JPEG, PNG, WEBP,")
    assert message.endswith("convert it to JPEG or PNG, or leave it out")


def test_postscript_is_never_interpreted(tmp_path: Path) -> None:
    photo().save(tmp_path / "print.eps")
    (tmp_path / "print.eps").rename(tmp_path / "print.png")
    assert "is PostScript, which is not read here" in refusal(tmp_path / "print.png")


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "bmp", "tiff", "gif", "ppm"])
def test_truncated(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"whole.{ending}"
    photo((200, 150)).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    message = refusal(file)
    assert "is truncated, its end is missing" in message or "is damaged and cannot be decoded" in message
    assert message.endswith("or leave it out")


def test_truncated_jpeg_is_called_that(tmp_path: Path) -> None:
    photo().save(tmp_path / "half.jpg")
    (tmp_path / "half.jpg").write_bytes((tmp_path / "half.jpg").read_bytes()[:900])
    assert refusal(tmp_path / "half.jpg").startswith("is truncated, its end is missing")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(20))
def test_random_damage_is_read_or_refused(tmp_path: Path, seed: int) -> None:
    chance = np.random.default_rng(seed)
    ending = ["jpg", "png", "tiff", "gif", "webp"][seed % 5]
    photo().save(tmp_path / f"x.{ending}")
    content = bytearray((tmp_path / f"x.{ending}").read_bytes())
    for place in chance.integers(0, len(content), 30):
        content[place] = chance.integers(0, 256)
    (tmp_path / f"x.{ending}").write_bytes(content)
    try:
        outcome = open_image(tmp_path / f"x.{ending}").mode
    except ImageError as error:
        outcome = str(error)
    assert outcome == "RGB" or outcome.startswith(f"{tmp_path}/x.{ending}: ")
    assert "\n" not in outcome


@pytest.mark.parametrize("size", [(10_001, 10_000), (60_000, 60_000)])
def test_decompression_bomb_is_refused_before_decoding(
    tmp_path: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 80_000_000)
    (tmp_path / "bomb.png").write_bytes(png_header(*size) + struct.pack(">I", 0) + b"IDAT" + bytes(4))
    with pytest.warns(Image.DecompressionBombWarning) if size[0] < 20_000 else nullcontext():
        message = refusal(tmp_path / "bomb.png")
    assert "pixels, more than the 100,000,000 that" in message or "has more pixels than the 100,000,000" in message


def test_limit_of_an_opened_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_PIXELS", 5)
    with pytest.raises(ImageError, match=r"^the image: has 3 x 2 pixels, more than the 5 that are decoded"):
        to_rgb(Image.new("RGB", (3, 2)))


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg").startswith("is not a regular file (a pipe, socket or device)")


def test_link_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    assert refusal(tmp_path / "a.jpg").startswith("cannot be opened (Too many levels of symbolic links)")


def test_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret.png"
    photo().save(file)
    file.chmod(0)
    if os.geteuid() == 0:  # the superuser may read everything, so the refusal is played

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", str(file))

        monkeypatch.setattr("builtins.open", refuse)
    assert refusal(file).startswith("may not be read (permission denied)")


@pytest.mark.parametrize("name", ["nul\0.jpg", "x" * 300 + ".jpg", "\ud800.jpg"])
def test_impossible_names(name: str) -> None:
    with pytest.raises(ImageError):
        open_image(name)


def test_a_name_that_is_not_utf8_is_read_and_escaped(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    try:
        with open(path, "wb") as file:
            photo().save(file, "PNG")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert open_image(os.fsdecode(path)).size == (64, 48)
    with open(path, "wb"):
        pass
    with pytest.raises(ImageError, match=r"/caf\\xe9\.png: is empty"):
        open_image(os.fsdecode(path))


def test_an_image_without_file_is_normalised_as_a_copy() -> None:
    original = photo()
    original.info["comment"] = "kept"
    result = to_rgb(original)
    result.putpixel((0, 0), (1, 2, 3))
    assert original.getpixel((0, 0)) != (1, 2, 3)
    assert original.info == {"comment": "kept"}


def test_files_are_closed(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    before = len(os.listdir("/proc/self/fd"))
    kept = [open_image(tmp_path / "a.png") for _ in range(5)]
    for _ in range(5):
        refusal(tmp_path / "b.png")
    assert len(os.listdir("/proc/self/fd")) == before
    assert len(kept) == 5


def test_many_threads_at_once(tmp_path: Path) -> None:
    files = []
    for i in range(24):
        files.append(tmp_path / f"{i}.{['png', 'jpg', 'webp', 'gif'][i % 4]}")
        Image.new("RGB", (20 + i, 10), RED).save(files[-1])
    with ThreadPoolExecutor(8) as pool:
        sizes = [image.size for image in pool.map(open_image, files * 4)]
    assert sizes == [(20 + i, 10) for i in range(24)] * 4


def test_importing_it_changes_nothing_in_pillow() -> None:
    from PIL import ImageFile

    assert Image.MAX_IMAGE_PIXELS == 1024 * 1024 * 1024 // 4 // 3
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
