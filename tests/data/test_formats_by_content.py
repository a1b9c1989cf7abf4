"""A folder is searched for images by their content; what is not read is counted by kind."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from PIL import Image, features

from diml.data import open_folder, open_image
from diml.data.formats import kind_of, readable
from diml.errors import DatasetError, ImageError

HEADS = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "JPEG XL": b"\xff\x0a\xfa\x1f",
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "PDF": b"%PDF-1.7\n",
    "video": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    "camera raw": b"II*\0\x10\0\0\0CR\x02\0",
    "Photoshop": b"8BPS\0\x01",
    "icon": b"\0\0\x01\0\x01\0\x10\x10",
}
ENDINGS = {"SVG": ".svg", "icon": ".ico"}


def image(path: Path, form: str | None = None, **settings: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (200, 0, 0)).save(path, form, **settings)
    return path


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("name", ["without", "x.dat", "x.txt", "x.png", "x.JPEG"])
def test_images_are_found_and_read_whatever_their_names(tmp_path: Path, form: str, name: str) -> None:
    file = image(tmp_path / name, form)
    assert open_folder(tmp_path).paths == [name]
    assert open_image(file).size == (16, 12)


def test_further_formats(tmp_path: Path) -> None:
    image(tmp_path / "a.tga")
    image(tmp_path / "b.tga", compression="tga_rle")
    image(tmp_path / "c.mpo", "MPO", save_all=True, append_images=[Image.new("RGB", (16, 12), "blue")])
    names = ["a.tga", "b.tga", "c.mpo"]
    if features.check("jpg_2000"):
        image(tmp_path / "d.jp2", "JPEG2000")
        image(tmp_path / "e.j2k", "JPEG2000", no_jp2=True)
        names += ["d.jp2", "e.j2k"]
    collection = open_folder(tmp_path)
    assert collection.paths == names
    for i in range(len(names)):
        red, green, blue = open_image(collection.file(i)).getpixel((8, 6))
        assert (red > 180, max(green, blue) < 40) == (True, True)


@pytest.mark.parametrize("name", HEADS)
def test_what_is_not_read_is_named_with_its_remedy(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"x{ENDINGS.get(name, '')}"
    file.write_bytes(HEADS[name].ljust(300, b"\0"))
    kind = kind_of(HEADS[name], ENDINGS.get(name, ""))
    assert kind is not None
    assert kind.name == name
    if kind.is_read:
        pytest.skip("this installation reads it")
    with pytest.raises(ImageError, match=rf"x(\.\w+)?: is {name}, which is not read here; ") as caught:
        open_image(file)
    assert str(caught.value).endswith(kind.remedy)


def test_they_are_counted_by_kind(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    for number, name in enumerate(["JPEG XL", "SVG", "SVG", "PDF", "video"]):
        (tmp_path / f"{number}{ENDINGS.get(name, '.jpg')}").write_bytes(HEADS[name])
    collection = open_folder(tmp_path)
    assert collection.paths == ["a.png"]
    assert collection.skipped == []
    assert collection.notes == [
        "left out, as they are not read here: 1 JPEG XL (convert to PNG or JPEG), 1 PDF (extract its pages as PNG), "
        "2 SVG (convert to PNG), 1 video (extract frames)"
    ]


def test_a_folder_of_nothing_else_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.svg").write_bytes(HEADS["SVG"])
    with pytest.raises(DatasetError, match=r"holds no images; .* not read here: 1 SVG \(convert to PNG\)"):
        open_folder(tmp_path)


def test_other_files_are_not_mentioned(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "b.txt").write_text("BM is no bitmap, and P5 is no picture\n")
    (tmp_path / "c.json").write_text("{}")
    (tmp_path / "d.csv").write_text("path,label\n")
    (tmp_path / "e.npy").write_bytes(b"\x93NUMPY\x01\0")
    (tmp_path / "f.gz").write_bytes(gzip.compress(b"x"))
    (tmp_path / "g").touch()
    (tmp_path / "h.html").write_text("<!doctype html><svg></svg>")
    collection = open_folder(tmp_path)
    assert (collection.paths, collection.skipped, collection.notes) == (["a.png"], [], [])


def test_a_file_that_ends_like_an_image_is_taken_so_that_its_reason_is_given(tmp_path: Path) -> None:
    image(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_text("no picture")
    (tmp_path / "c.jpg").touch()
    assert open_folder(tmp_path).paths == ["a.png", "b.jpg", "c.jpg"]


def test_raw_by_its_ending_where_it_looks_like_a_tiff(tmp_path: Path) -> None:
    image(tmp_path / "x.tif").rename(tmp_path / "x.dng")
    image(tmp_path / "a.png")
    assert open_folder(tmp_path).notes == [
        "left out, as they are not read here: 1 camera raw (develop to TIFF or JPEG)"
    ]


def test_heic_is_read_with_its_extra(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 0, 0))).save(tmp_path / "x.heic")
    assert "HEIF" in readable()
    assert open_folder(tmp_path).paths == ["x.heic"]
    shown = open_image(tmp_path / "x.heic")
    assert shown.size == (64, 48)
    assert shown.getpixel((30, 20))[0] > 180
