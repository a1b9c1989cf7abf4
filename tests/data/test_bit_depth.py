"""16-bit images whose samples have fewer bits look like their 8-bit originals."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from diml.data import bit_depth, open_image, to_rgb
from diml.errors import ImageError

RAMP = np.arange(256, dtype=np.uint16).reshape(16, 16)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2)


@pytest.fixture(autouse=True)
def not_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bit_depth, "_warned", bit_depth.threading.Lock())


def png(values: np.ndarray, sbit: bytes | None = None) -> bytes:
    """A 16-bit PNG, grey, RGB or RGBA."""
    height, width, channels = (*values.shape, 1)[:3]
    kind = {1: 0, 3: 2, 4: 6}[channels]
    rows = values.astype(">u2").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = [b"IHDR" + struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)]
    chunks += [] if sbit is None else [b"sBIT" + sbit]
    chunks += [b"IDAT" + zlib.compress(data), b"IEND"]
    body = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def seen(file: Path, content: bytes, depth: int | None = None) -> np.ndarray:
    file.write_bytes(content)
    return np.asarray(open_image(file, bit_depth=depth))


@pytest.mark.parametrize("bits", [9, 10, 12, 14])
@pytest.mark.parametrize("original", [RAMP, COLOURS], ids=["grey", "colour"])
def test_significant_bits_of_a_png(tmp_path: Path, bits: int, original: np.ndarray) -> None:
    deep = np.rint(original * ((2**bits - 1) / 255)).astype(np.uint16)
    channels = 1 if original.ndim == 2 else 3
    found = seen(tmp_path / "x.png", png(deep, bytes([bits] * channels)))
    wanted = original if channels == 3 else np.stack([original] * 3, axis=2)
    assert np.array_equal(found, wanted)


def test_samples_that_were_scaled_up_as_the_standard_asks(tmp_path: Path) -> None:
    full = RAMP * 257
    assert np.array_equal(seen(tmp_path / "x.png", png(full, b"\x0c"))[..., 0], RAMP)


def test_transparency_of_12_bits(tmp_path: Path) -> None:
    deep = np.full((4, 4, 4), 2048, np.uint16)
    deep[..., 3] = 4095
    assert seen(tmp_path / "x.png", png(deep, b"\x0c" * 4))[0, 0].tolist() == [128, 128, 128]
    deep[..., 3] = 65535
    assert seen(tmp_path / "x.png", png(deep, b"\x0c" * 4))[0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("tag", [281, 341])
def test_sample_range_of_a_tiff(tmp_path: Path, tag: int) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[tag] = 4095
    tags.tagtype[tag] = 3
    deep = np.rint(RAMP * (4095 / 255)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "x.tif", tiffinfo=tags)
    assert np.array_equal(np.asarray(open_image(tmp_path / "x.tif"))[..., 0], RAMP)


def test_a_largest_value_that_is_no_range_changes_nothing(tmp_path: Path) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[281] = 3000
    tags.tagtype[281] = 3
    Image.fromarray(np.full((2, 2), 3000, np.uint16)).save(tmp_path / "dark.tif", tiffinfo=tags)
    with pytest.warns(bit_depth.BitDepthWarning):
        assert open_image(tmp_path / "dark.tif").getpixel((0, 0)) == (12, 12, 12)


def test_tiff_of_12_bits_per_sample(tmp_path: Path) -> None:
    # Two samples of 12 bits in 3 bytes: 0 and 4095, then 2048 and 0.
    entries = [(256, 4, 2), (257, 4, 2), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 4, 2), (279, 4, 6)]
    data = bytes([0x00, 0x0F, 0xFF, 0x80, 0x00, 0x00])
    directory = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack("<HHII", tag, kind, 1, value)
    content = b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + struct.pack("<I", 0)
    assert seen(tmp_path / "x.tif", content)[..., 0].tolist() == [[0, 255], [128, 0]]


@pytest.mark.parametrize("original", [RAMP, COLOURS], ids=["grey", "colour"])
def test_a_bit_depth_that_the_user_gives(tmp_path: Path, original: np.ndarray) -> None:
    deep = np.rint(original * (4095 / 255)).astype(np.uint16)
    found = seen(tmp_path / "x.png", png(deep), depth=12)
    assert np.array_equal(found if original.ndim == 3 else found[..., 0], original)


def test_a_bit_depth_does_not_touch_8_bit_images_nor_a_scaled_ppm(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "x.png")
    assert np.array_equal(np.asarray(open_image(tmp_path / "x.png", bit_depth=12))[..., 0], RAMP)
    values = np.rint(RAMP * (4095 / 255)).astype(">u2")
    found = seen(tmp_path / "x.pgm", b"P5 16 16 4095\n" + values.tobytes(), depth=12)
    assert np.abs(found[..., 0].astype(int) - RAMP).max() <= 1


def test_a_dark_photograph_stays_dark_and_is_warned_of_once(tmp_path: Path) -> None:
    deep = png(RAMP * 16)
    with pytest.warns(bit_depth.BitDepthWarning) as caught:
        darkest = [seen(tmp_path / f"{name}.png", deep).max() for name in "xy"]
    assert (darkest, len(caught)) == ([16, 16], 1)
    message = str(caught[0].message)
    assert message.startswith(f"{tmp_path / 'x.png'}: no value of this 16-bit image reaches 4096")
    assert "--bit-depth 12" in message


@pytest.mark.parametrize("values", [RAMP * 257, RAMP * 0, np.full((4, 4), 4096)], ids=["bright", "black", "4096"])
def test_others_are_not_warned_of(tmp_path: Path, values: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen(tmp_path / "x.png", png(values.astype(np.uint16)))


def test_an_opened_image(tmp_path: Path) -> None:
    deep = np.rint(RAMP * (4095 / 255)).astype(np.uint16)
    assert np.array_equal(np.asarray(to_rgb(Image.open(io.BytesIO(png(deep, b"\x0c")))))[..., 0], RAMP)
    assert np.array_equal(np.asarray(to_rgb(Image.fromarray(deep), bit_depth=12))[..., 0], RAMP)


def test_decoding_1_counts_16_bits(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(png(RAMP * 16, b"\x0c"))
    assert np.asarray(open_image(tmp_path / "x.png", decoding=1)).max() == 16


def test_a_tiff_that_is_not_read_is_not_told_to_be_another_format(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((2, 2), np.float32)).save(tmp_path / "x.tif")
    content = (tmp_path / "x.tif").read_bytes()
    bits = struct.pack("<HHIHH", 258, 3, 1, 32, 0)
    assert bits in content
    (tmp_path / "x.tif").write_bytes(content.replace(bits, struct.pack("<HHIHH", 258, 3, 1, 64, 0)))
    with pytest.raises(ImageError, match=r"x\.tif: is TIFF of a kind that is not read here, or damaged; convert it"):
        open_image(tmp_path / "x.tif")
