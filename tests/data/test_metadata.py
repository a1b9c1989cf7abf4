"""An image is not refused for what it says beside its pixels."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from diml.data import open_image, open_mask


def photo() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8))


def chunk(name: bytes, content: bytes, *, broken: bool = False) -> bytes:
    check = zlib.crc32(name + content) ^ broken
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def with_chunk(file: Path, added: bytes) -> Path:
    """A PNG with one more chunk behind its header."""
    photo().save(file)
    content = file.read_bytes()
    file.write_bytes(content[:33] + added + content[33:])
    return file


def assert_same_pixels(file: Path) -> None:
    assert np.array_equal(np.asarray(open_image(file)), np.asarray(photo()))
    assert np.array_equal(np.asarray(open_image(file, decoding=1)), np.asarray(photo()))
    assert open_mask(file).size == (64, 48)


NOISE = os.urandom(3 << 20)
BOMB = zlib.compress(b"x" * (200 << 20), 9)
CHUNKS = {
    "a text over 1 MB": chunk(b"tEXt", b"Comment\0" + b"x" * (2 << 20)),
    "a compressed text over 1 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (3 << 20))),
    "an international text over 1 MB": chunk(b"iTXt", b"Comment\0\x01\0\0\0" + zlib.compress(b"x" * (3 << 20))),
    "a text of 200 MB": chunk(b"zTXt", b"Comment\0\0" + BOMB),
    "a profile over 1 MB": chunk(b"iCCP", b"large\0\0" + zlib.compress(NOISE)),
    "a profile of 200 MB": chunk(b"iCCP", b"large\0\0" + BOMB),
    "a profile without a name": chunk(b"iCCP", b"no"),
    "a profile of an unknown compression": chunk(b"iCCP", b"name\0\x07" + b"no profile"),
    "a text with a wrong checksum": chunk(b"tEXt", b"Comment\0text", broken=True),
    "a short gamma": chunk(b"gAMA", b"\0"),
    "short primaries": chunk(b"cHRM", b"\0" * 5),
    "a short resolution": chunk(b"pHYs", b"\0"),
    "no rendering intent": chunk(b"sRGB", b""),
    "broken EXIF": chunk(b"eXIf", b"MM\0*\0\0\xff\xff"),
    "no significant bits": chunk(b"sBIT", b""),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_png_with(tmp_path: Path, name: str) -> None:
    assert_same_pixels(with_chunk(tmp_path / "x.png", CHUNKS[name]))


def test_many_texts_are_more_than_pillow_takes_in_all(tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    for i in range(160):
        texts.add_text(f"comment {i}", "x" * (500 << 10), zip=True)
    photo().save(tmp_path / "x.png", pnginfo=texts)
    assert_same_pixels(tmp_path / "x.png")


def test_a_text_is_not_decompressed_beyond_the_limit(tmp_path: Path) -> None:
    file = with_chunk(tmp_path / "x.png", CHUNKS["a text of 200 MB"])
    tracemalloc.start()
    open_image(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


def test_the_orientation_in_a_text_is_kept_beside_a_large_one(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    added = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + CHUNKS["a text over 1 MB"]
    assert open_image(with_chunk(tmp_path / "x.png", added)).size == (48, 64)


def test_a_damaged_chunk_of_pixels_is_still_refused(tmp_path: Path) -> None:
    file = with_chunk(tmp_path / "x.png", chunk(b"tRNS", b"\0\1\0\1\0\1", broken=True))
    with pytest.raises(Exception, match="or damaged"):
        open_image(file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ending", ["jpg", "webp", "png"])
@pytest.mark.parametrize("exif", [b"Exif\0\0broken", b"Exif\0\0MM\0*\0\0\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"])
def test_broken_exif(tmp_path: Path, ending: str, exif: bytes) -> None:
    image = Image.new("RGB", (16, 8), (200, 0, 0))
    image.save(tmp_path / f"x.{ending}", exif=exif)
    assert open_image(tmp_path / f"x.{ending}").size == (16, 8)


def test_a_broken_xmp_and_a_broken_profile_in_a_jpeg(tmp_path: Path) -> None:
    photo().save(tmp_path / "x.jpg", xmp=b"<x:xmpmeta" + b"x" * 60_000, icc_profile=NOISE, quality=95)
    photo().save(tmp_path / "y.jpg", quality=95)
    assert np.array_equal(np.asarray(open_image(tmp_path / "x.jpg")), np.asarray(open_image(tmp_path / "y.jpg")))
