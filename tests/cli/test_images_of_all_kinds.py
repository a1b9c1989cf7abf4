"""What commands say about images that are not 8-bit RGB."""

import json
import shutil
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diml.data import bit_depth


@pytest.fixture(autouse=True)
def not_warned(monkeypatch):
    monkeypatch.setattr(bit_depth, "_warned", bit_depth.threading.Lock())


@pytest.fixture
def deep(tmp_path):
    """Photographs of 12 bits in 16, and the same on 8 bits."""
    for folder in ("deep", "plain"):
        (tmp_path / folder).mkdir()
    for i in range(4):
        small = np.random.default_rng(i).integers(0, 256, (6, 8), dtype=np.uint8)
        plain = Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC)
        plain.save(tmp_path / "plain" / f"{i}.png")
        values = np.rint(np.asarray(plain).astype(float) * (4095 / 255)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "deep" / f"{i}.png")
    return tmp_path


@pytest.mark.slow
def test_explain_warns_in_one_line_and_takes_a_bit_depth(diml, deep):
    pair = (deep / "deep" / "0.png", deep / "plain" / "0.png")
    dark = diml("explain", *pair, "--json")
    assert dark.err.startswith(f"diml: {pair[0]}: no value of this 16-bit image reaches 4096")
    assert len(dark.err.splitlines()) == 1
    found = diml("explain", *pair, "--json", "--bit-depth", 12)
    assert found.err == ""
    itself = json.loads(diml("explain", pair[1], pair[1], "--json").out)["similarity"]
    assert json.loads(found.out)["similarity"] == pytest.approx(itself, abs=1e-6)
    assert json.loads(dark.out)["similarity"] < itself - 0.1


@pytest.mark.slow
def test_an_index_keeps_its_bit_depth(diml, deep):
    into = deep / "x.diml"
    assert diml("index", deep / "deep", "--into", into, "--bit-depth", 12).err == ""
    stats = json.loads(diml("info", into, "--json").out)
    assert (stats["decoding"], stats["bit_depth"]) == (3, 12)
    found = json.loads(diml("search", into, deep / "plain" / "2.png", "--json").out)
    assert (found["hits"][0]["path"], found["hits"][0]["pooled"]) == ("2.png", pytest.approx(1, abs=1e-3))
    assert diml("index", deep / "deep", "--into", into, "--bit-depth", 12).code == 0
    refused = diml("index", deep / "deep", "--into", into, "--bit-depth", 10)
    assert refused.code == 1
    assert "was made with the bit depth 12, got 10; leave it out, or make another index" in refused.err


def test_a_bit_depth_out_of_range(diml, deep):
    refused = diml("explain", deep / "deep" / "0.png", deep / "deep" / "1.png", "--bit-depth", 17)
    assert refused.code == 2
    assert "expected --bit-depth from 1 to 16, got 17" in refused.err


@pytest.mark.slow
def test_index_and_evaluate_count_what_is_not_read(diml, shapes, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(shapes, data)
    (data / "disc" / "vector.svg").write_text("<svg/>")
    (data / "bar" / "film").write_bytes(b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom")
    line = "left out, as they are not read here: 1 SVG (convert to PNG), 1 video (extract frames)"
    for command in (("index", data, "--into", tmp_path / "x.diml"), ("evaluate", data, "--shortlist", 0)):
        ran = diml(*command)
        assert (ran.code, line in ran.err) == (0, True), ran.err


@pytest.mark.slow
def test_pillows_warnings_are_not_printed(diml, tmp_path):
    """A 94-megapixel image, and broken EXIF."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 9400, 10_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(10_000 * (1 + 9400 // 8)), 1)
    chunks = [header, b"IDAT" + rows, b"IEND"]
    body = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "exif.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    ran = diml("explain", tmp_path / "large.png", tmp_path / "exif.jpg")
    assert (ran.code, ran.err) == (0, "")


def test_what_pillow_logs_is_not_printed(diml, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.tif")
    content = (tmp_path / "x.tif").read_bytes()
    samples = struct.pack("<HHIHH", 277, 3, 1, 3, 0)
    assert samples in content
    (tmp_path / "x.tif").write_bytes(content.replace(samples, struct.pack("<HHIHH", 277, 3, 1, 52, 0)))
    ran = diml("explain", tmp_path / "x.tif", tmp_path / "x.tif", "--region", "0,0,4,4")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1), ran.err
