"""JPEGs decoded at 1/2, 1/4 or 1/8 of their size, where no more is wanted."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from diml.data import NamedBytes, image_size, open_image, original_of, to_rgb
from diml.data.drafts import SPARE
from diml.errors import ImageError
from diml.image_sizes import Original, Wanted, note_original
from tests.data.test_colour_profiles import SPACES, profile

PHOTO = Path(__file__).parents[2] / "sample" / "photos" / "coffee.jpg"
WIDE, TALL = 1203, 805
FULL = Original((WIDE, TALL), (0.0, 0.0, WIDE, TALL), (WIDE, TALL))


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """A photograph whose sides no scale divides."""
    with Image.open(PHOTO) as opened:
        return opened.convert("RGB").resize((WIDE, TALL), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, **settings: object) -> NamedBytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=92, **settings)
    return NamedBytes(file.getvalue(), "x.jpg")


def turned(image: Image.Image, orientation: int) -> NamedBytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(image, exif=exif)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and np.array_equal(pixels(one), pixels(other))


@pytest.mark.parametrize(
    ("wanted", "scale"),
    [((600, 402), 1), ((301, 201), 1), ((300, 201), 2), ((150, 100), 4), ((100, 20), 4), ((20, 51), 4), ((20, 20), 8)],
)
def test_the_smallest_scale_with_twice_the_pixels_on_both_axes(
    photo: Image.Image, wanted: tuple[int, int], scale: int
) -> None:
    data = jpeg(photo)
    found = open_image(data, wanted=Wanted(*wanted))
    with Image.open(io.BytesIO(data.data)) as naive:
        if scale > 1:
            naive.draft(None, (WIDE // scale, TALL // scale))
        assert same(found, naive.convert("RGB"))
    assert found.size == (-(-WIDE // scale), -(-TALL // scale))
    assert scale == 1 or all(have >= SPARE * want for have, want in zip(found.size, wanted, strict=True))
    original = original_of(found)
    assert original == Original((WIDE, TALL), (0, 0, WIDE / scale, TALL / scale), found.size)
    # Only where it is one of these.
    assert bool(found.info) == (scale > 1)


def test_without_a_wanted_size_and_in_older_versions_all_pixels_are_decoded(photo: Image.Image) -> None:
    data, wanted = jpeg(photo), Wanted(20, 20)
    full = open_image(data, 2)
    assert same(open_image(data), full)
    assert original_of(full) == FULL
    assert not full.info
    for version in (1, 2):
        assert same(open_image(data, version, wanted=wanted), full)


@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "jp2"])
def test_other_formats_are_decoded_completely(photo: Image.Image, tmp_path: Path, ending: str) -> None:
    photo.save(tmp_path / f"x.{ending}")
    found = open_image(tmp_path / f"x.{ending}", wanted=Wanted(20, 20))
    assert same(found, open_image(tmp_path / f"x.{ending}", 2))
    assert original_of(found).size == (WIDE, TALL)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations(photo: Image.Image, orientation: int) -> None:
    """What is wanted is of the upright image, and the box of the original lies where the upright image shows it."""
    data = turned(photo, orientation)
    full = open_image(data)
    sizes = []

    def wanted(size: tuple[int, int]) -> tuple[int, int]:
        sizes.append(size)
        return (200, 50) if orientation < 5 else (50, 200)

    found = open_image(data, wanted=wanted)
    assert sizes == [full.size]
    original = original_of(found)
    assert original.size == full.size
    assert found.size == ((401 + 201, 403) if orientation < 5 else (403, 401 + 201))
    small = (120, 80) if orientation < 5 else (80, 120)
    right, drafted = full.resize(small), found.resize(small, box=original.box)
    assert np.abs(pixels(right) - pixels(drafted)).mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_box_leaves_out_what_shows_nothing(orientation: int) -> None:
    """9 of 16 columns and rows at 1/8: the second pixel of each axis shows one pixel of the original."""
    ramp = Image.linear_gradient("L").resize((8 * 20 + 1, 8 * 16 + 1))
    found = open_image(turned(ramp, orientation), wanted=Wanted(5, 5))
    (x0, y0, x1, y1), (width, height) = original_of(found).box, found.size
    assert {width, height} == {21, 17}
    assert {x1 - x0, y1 - y0} == {20.125, 16.125}
    assert (x0 > 0) == (orientation in (2, 3, 6, 7))
    assert (y0 > 0) == (orientation in (3, 4, 7, 8))
    assert x0 == 0 or x1 == width
    assert y0 == 0 or y1 == height


@pytest.mark.parametrize("kind", ["grey", "cmyk", "progressive", "profile", "subsampled", "mpo", "restart markers"])
def test_kinds_of_jpeg(photo: Image.Image, tmp_path: Path, kind: str) -> None:
    """Each is as the complete image at that scale, with its colours."""
    file = tmp_path / "x.jpg"
    if kind == "grey":
        photo.convert("L").save(file, quality=92)
    elif kind == "cmyk":
        photo.convert("CMYK").save(file, quality=92)
    elif kind == "progressive":
        photo.save(file, quality=92, progressive=True)
    elif kind == "profile":
        photo.save(file, quality=92, icc_profile=profile(*SPACES["linear"]))
    elif kind == "subsampled":
        photo.save(file, quality=92, subsampling=2)
    elif kind == "mpo":
        photo.save(file, "MPO", save_all=True, append_images=[photo.transpose(Image.Transpose.ROTATE_180)])
    else:
        photo.save(file, quality=92, restart_marker_rows=1)
    full, found = open_image(file), open_image(file, wanted=Wanted(100, 100))
    assert (found.mode, found.size, original_of(found).size) == ("RGB", (301, 202), (WIDE, TALL))
    small = full.resize((100, 67)), found.resize((100, 67), box=original_of(found).box)
    assert np.abs(pixels(small[0]) - pixels(small[1])).mean() < 1
    if kind == "profile":  # which changes the colours
        assert np.abs(pixels(full) - pixels(open_image(file, 1))).mean() > 10


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_truncated_file_is_refused_as_before(photo: Image.Image, progressive: bool, share: float) -> None:
    data = jpeg(photo, progressive=progressive).data
    cut = NamedBytes(data[: int(share * len(data))], "x.jpg")
    for wanted in (None, Wanted(20, 20)):
        with pytest.raises(ImageError, match=r"^x.jpg: is truncated, its end is missing"):
            open_image(cut, wanted=wanted)


def test_the_limit_is_of_the_original(photo: Image.Image) -> None:
    with pytest.raises(ImageError, match=r"has 1203 x 805 pixels, more than the 900,000"):
        open_image(jpeg(photo), max_pixels=900_000, wanted=Wanted(20, 20))


def test_what_is_known_of_the_original_is_kept_with_the_same_pixels_alone(photo: Image.Image) -> None:
    found = open_image(jpeg(photo), wanted=Wanted(100, 100))
    original = original_of(found)
    assert original.size == (WIDE, TALL)
    for same_pixels in (found.copy(), to_rgb(found), to_rgb(found, 1)):
        assert original_of(same_pixels) == original
        assert list(same_pixels.info) == list(found.info)
    part = found.crop((10, 10, 110, 90))
    assert original_of(part).size == (100, 80)
    assert original_of(to_rgb(part)).size == (100, 80)
    assert original_of(found.resize((50, 40))).size == (50, 40)


def test_a_text_in_a_file_is_not_taken_for_it(tmp_path: Path) -> None:
    image = Image.new("RGB", (8, 6))
    note_original(image, Original((80, 60), (0, 0, 8, 6), (8, 6)))
    (key,) = image.info
    texts = PngImagePlugin.PngInfo()
    texts.add_text(key, "800 x 600")
    Image.new("RGB", (8, 6)).save(tmp_path / "x.png", pnginfo=texts)
    with Image.open(tmp_path / "x.png") as opened:
        assert key in opened.info
        assert original_of(opened).size == original_of(to_rgb(opened)).size == (8, 6)
    assert original_of(open_image(tmp_path / "x.png")).size == (8, 6)


@pytest.mark.parametrize("orientation", [1, 4, 5, 6, 8, 9])
def test_the_size_of_the_file_is_told_without_decoding(photo: Image.Image, tmp_path: Path, orientation: int) -> None:
    """9 is no orientation."""
    (tmp_path / "x.jpg").write_bytes(turned(photo, orientation).data)
    found = open_image(tmp_path / "x.jpg", wanted=Wanted(20, 20))
    assert image_size(tmp_path / "x.jpg") == original_of(found).size == open_image(tmp_path / "x.jpg").size


@pytest.mark.parametrize("progressive", [False, True])
def test_damage_is_read_or_refused_as_by_version_2(photo: Image.Image, progressive: bool) -> None:
    whole = jpeg(photo, progressive=progressive).data
    outcomes = set()
    for seed in range(30):
        random, data = np.random.default_rng(seed), bytearray(whole)
        for _ in range(5):
            data[random.integers(len(data) if seed % 2 else 700)] = random.integers(256)
        found = []
        for version in (2, 3):
            try:
                image = open_image(NamedBytes(bytes(data), "x.jpg"), version, wanted=Wanted(60, 60))
                found.append(original_of(image).size)
            except ImageError as error:
                found.append(str(error))
        assert found[0] == found[1]
        outcomes.add(type(found[0]))
    assert outcomes == {tuple, str}
