"""Embedded colour profiles are converted to sRGB."""

from __future__ import annotations

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from diml.data import open_image, to_rgb
from diml.data.colour_profiles import _transform

SAMPLE = Path(__file__).parents[2] / "sample" / "photos"
D50 = (0.9642, 1.0, 0.8249)
# Columns: X, Y, Z of red, green and blue, adapted to D50; and the exponent of the tone curve.
SPACES = {
    "Display P3": ([0.51512, 0.2412, -0.00105], [0.29198, 0.69225, 0.04189], [0.1571, 0.06657, 0.78407], 2.2),
    "Adobe RGB": ([0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457], 2.2),
    "ProPhoto": ([0.79767, 0.28804, 0.0], [0.13519, 0.71188, 0.0], [0.03134, 0.00009, 0.82491], 1.8),
    "linear": ([0.43607, 0.22249, 0.01392], [0.38515, 0.71687, 0.09708], [0.14307, 0.06061, 0.7141], 1.0),
}


def profile(red: list[float], green: list[float], blue: list[float], gamma: float) -> bytes:
    """An ICC profile of three primaries and one tone curve."""

    def xyz(values) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    tags = [(b"wtpt", xyz(D50)), (b"rXYZ", xyz(red)), (b"gXYZ", xyz(green)), (b"bXYZ", xyz(blue))]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    return _assembled(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return _assembled(b"GRAY", [(b"wtpt", white), (b"kTRC", curve)])


def _assembled(space: bytes, tags: list[tuple[bytes, bytes]]) -> bytes:
    offset, table, content = 128 + 4 + 12 * len(tags), b"", b""
    for name, value in tags:
        table += name + struct.pack(">II", offset + len(content), len(value))
        content += value
    size = offset + len(content)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", *(round(value * 65536) for value in D50))
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def opened(content: bytes) -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(io.BytesIO(content))


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def stored_in(image: Image.Image, content: bytes) -> Image.Image:
    """The same colours, as numbers of another space."""
    converted = ImageCms.profileToProfile(image, SRGB, opened(content), ImageCms.Intent.RELATIVE_COLORIMETRIC)
    assert converted is not None
    return converted


def photo() -> Image.Image:
    return Image.open(sorted(SAMPLE.glob("**/*.jpg"))[0]).convert("RGB")


def difference(a: Image.Image, b: Image.Image) -> float:
    return float(np.abs(np.asarray(a, dtype=int) - np.asarray(b, dtype=int)).mean())


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
def test_an_image_is_the_same_in_every_space(tmp_path: Path, space: str, ending: str) -> None:
    content, original = profile(*SPACES[space]), photo()
    lossless = {"lossless": True} if ending == "webp" else {}
    stored_in(original, content).save(tmp_path / f"x.{ending}", icc_profile=content, **lossless)
    shown = open_image(tmp_path / f"x.{ending}")
    assert difference(shown, original) < 2.5
    assert difference(open_image(tmp_path / f"x.{ending}", decoding=1), original) > 2 * difference(shown, original)


@pytest.mark.slow
@pytest.mark.parametrize("space", ["Display P3", "Adobe RGB", "ProPhoto"])
def test_a_photograph_is_similar_to_itself_in_another_space(tmp_path: Path, space: str) -> None:
    from diml.model import StructuralModel

    content = profile(*SPACES[space])
    stored_in(photo(), content).save(tmp_path / "x.jpg", icc_profile=content, quality=95)
    model = StructuralModel.from_pretrained("lite0")
    plain = model.with_weights(None).with_matcher(transport="full", weight=0.5)
    assert plain.similarity(photo(), tmp_path / "x.jpg") >= 0.99
    assert model.similarity(photo(), tmp_path / "x.jpg") >= model.similarity(photo(), photo()) - 0.005


def test_srgb_by_its_numbers_changes_nothing(tmp_path: Path) -> None:
    photo().save(tmp_path / "x.png", icc_profile=SRGB.tobytes())
    assert difference(open_image(tmp_path / "x.png"), photo()) == 0
    assert _transform(SRGB.tobytes(), "RGB") is None


def test_grey_profiles(tmp_path: Path) -> None:
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    ramp.save(tmp_path / "x.png", icc_profile=grey_profile(1.0))
    row = np.asarray(open_image(tmp_path / "x.png"))[0].astype(int)
    # Half of the light is 188 in sRGB.
    assert np.abs(row[128] - 188).max() <= 1
    assert (row[0].tolist(), row[255].tolist()) == ([0, 0, 0], [255, 255, 255])


def test_cmyk_without_a_profile_of_cmyk_is_as_before(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "x.jpg", icc_profile=profile(*SPACES["Adobe RGB"]))
    assert difference(open_image(tmp_path / "x.jpg"), open_image(tmp_path / "x.jpg", decoding=1)) == 0


def test_lab(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    red = ImageCms.profileToProfile(Image.new("RGB", (8, 8), (200, 30, 30)), SRGB, lab, outputMode="LAB")
    red.save(tmp_path / "x.tif")
    assert np.abs(np.asarray(open_image(tmp_path / "x.tif"), dtype=int) - [200, 30, 30]).max() <= 3


def test_transparency_and_profile(tmp_path: Path) -> None:
    content = profile(*SPACES["ProPhoto"])
    image = stored_in(Image.new("RGB", (8, 8), (200, 30, 30)), content).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 4, 8))
    image.save(tmp_path / "x.png", icc_profile=content)
    shown = open_image(tmp_path / "x.png")
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    assert np.abs(np.subtract(shown.getpixel((6, 0)), (200, 30, 30))).max() <= 3


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no profile",
        bytes(200),
        profile(*SPACES["linear"])[:150],
        profile(*SPACES["linear"])[:300] + b"\xff" * 99,
        profile(*SPACES["linear"]).replace(b"RGB ", b"6CLR"),
    ],
)
def test_a_broken_profile_is_ignored(tmp_path: Path, broken: bytes) -> None:
    photo().save(tmp_path / "x.jpg", icc_profile=broken, quality=95)
    photo().save(tmp_path / "y.jpg", quality=95)
    assert difference(open_image(tmp_path / "x.jpg"), open_image(tmp_path / "y.jpg")) == 0


def test_the_result_has_no_profile(tmp_path: Path) -> None:
    content = profile(*SPACES["linear"])
    photo().save(tmp_path / "x.png", icc_profile=content)
    shown = open_image(tmp_path / "x.png")
    assert shown.info == {}
    assert difference(to_rgb(shown), shown) == 0


def test_many_threads_at_once(tmp_path: Path) -> None:
    originals = [Image.new("RGB", (40, 40), (6 * i, 255 - 6 * i, 100)) for i in range(24)]
    spaces = [profile(*values) for values in SPACES.values()]
    for i, image in enumerate(originals):
        content = spaces[i % len(spaces)]
        stored_in(image, content).save(tmp_path / f"{i}.png", icc_profile=content)
    alone = [open_image(tmp_path / f"{i}.png") for i in range(24)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda i: open_image(tmp_path / f"{i % 24}.png"), range(240)))
    assert all(difference(image, alone[i % 24]) == 0 for i, image in enumerate(together))
