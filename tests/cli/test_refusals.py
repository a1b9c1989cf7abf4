"""What bad input gets: one clear sentence, the right exit code, nothing half-written."""

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

SAMPLE = Path(__file__).parents[2] / "sample"
CAT = SAMPLE / "photos" / "chelsea.jpg"


def bomb(path):
    """A PNG that says it is 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


BAD_IMAGES = {
    "text.jpg": lambda path: path.write_text("no image"),
    "truncated.jpg": lambda path: path.write_bytes(CAT.read_bytes()[:9000]),
    "empty.png": lambda path: path.touch(),
    "bomb.png": bomb,
    "fifo.jpg": os.mkfifo,
    "folder.jpg": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_bad_images_are_refused_by_name(refused, shapes_index, tmp_path, name):
    BAD_IMAGES[name](tmp_path / name)
    refused(1, name, "explain", CAT, tmp_path / name)
    refused(1, name, "search", shapes_index, tmp_path / name)


ODD_IMAGES = {
    "one-pixel.png": lambda path: Image.new("RGB", (1, 1), "red").save(path),
    "cmyk.jpg": lambda path: Image.new("CMYK", (40, 30)).save(path),
    "deep.png": lambda path: Image.new("I;16", (40, 30), 30000).save(path),
    "palette.png": lambda path: Image.new("RGBA", (40, 30), (9, 9, 9, 90)).quantize().save(path),
    "moving.gif": lambda path: Image.new("P", (40, 30)).save(
        path, save_all=True, append_images=[Image.new("P", (40, 30), 1)]
    ),
    "turned.jpg": lambda path: Image.new("RGB", (40, 30)).save(
        path, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    ),
}


@pytest.mark.slow
def test_odd_images_are_explained(diml, tmp_path):
    for name, make in ODD_IMAGES.items():
        make(tmp_path / name)
        done = diml("explain", CAT, tmp_path / name, "--json", "--grid", 2)
        assert done.code == 0, (name, done)
        boxes = [pair["b_box"] for pair in json.loads(done.out)["matches"]]
        expected = {"one-pixel.png": (1, 1), "turned.jpg": (30, 40)}.get(name, (40, 30))
        assert (max(box[2] for box in boxes), max(box[3] for box in boxes)) == expected


def test_what_is_not_there(refused, shapes_index, tmp_path):
    refused(2, "no such image", "explain", CAT, tmp_path / "none.jpg")
    refused(2, "no such", "index", tmp_path / "none", "--into", tmp_path / "x.diml")
    refused(2, "no such", "evaluate", tmp_path / "none")
    refused(2, "none.diml: no such index", "search", tmp_path / "none.diml", CAT)
    refused(2, "none.diml: no such index", "info", tmp_path / "none.diml")
    refused(2, "none.diml: no such index", "explain", CAT, CAT, "--model", tmp_path / "none.diml")
    refused(1, "no such model", "explain", CAT, CAT, "--model", "nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_wrong_usage(refused, shapes_index, tmp_path):
    refused(2, "argument", "explain", CAT)
    refused(2, "--magic", "explain", CAT, CAT, "--magic")
    refused(2, "expected -k >= 1, got 0", "search", shapes_index, CAT, "-k", 0)
    refused(2, "-1", "search", shapes_index, CAT, "--shortlist", -1)
    refused(2, "colour", "search", shapes_index, CAT, "--where", "colour = 'red'")
    refused(2, "4x6, got 0", "explain", CAT, CAT, "--grid", 0)
    refused(2, "expected --grid to be a number such as 4, or rows x columns", "explain", CAT, CAT, "--grid", "4x")
    refused(2, "7x7", "explain", CAT, CAT, "--grid", 9)
    refused(2, "--parts >= 1, got 0", "explain", CAT, CAT, "--parts", 0)
    refused(2, "got 7", "explain", CAT, CAT, "--weight", 7)
    refused(2, "ending", "explain", CAT, CAT, "--out", tmp_path / "why.bmp")
    refused(2, "does not exist", "explain", CAT, CAT, "--out", tmp_path / "none" / "why.png")
    refused(2, "--device", "explain", CAT, CAT, "--device", "abacus")
    refused(2, "shortlist", "evaluate", SAMPLE / "emoji", "--shortlist", -5)
    refused(2, "protocol", "evaluate", SAMPLE / "emoji", "--protocol", "lucky")


def test_an_image_that_is_read_is_not_overwritten(refused, shapes, shapes_index, tmp_path):
    folder = tmp_path / "shapes"
    shutil.copytree(shapes / "disc", folder)
    a, b, c, d = sorted(folder.iterdir())
    before = [each.read_bytes() for each in (a, b, c, d)]
    said = "it is one of the images to read; name another file"
    refused(2, said, "explain", a, b, "--out", a)
    refused(2, said, "explain", a, b, "--out", folder / ".." / "shapes" / b.name)
    refused(2, said, "explain", a, b, "--rather-than", c, "--out", c)
    refused(2, said, "explain", a, b, "--mask", c, "--out", c)
    refused(2, said, "explain", a, "--against", folder, "--out", d)
    refused(2, said, "search", shapes_index, a, "--out", a)
    refused(2, said, "search", shapes_index, a, "--mask", b, "--out", b)
    assert [each.read_bytes() for each in (a, b, c, d)] == before


def test_k_beyond_the_collection_gives_all(diml, shapes_index):
    done = diml("search", shapes_index, CAT, "-k", 1000, "--json")
    assert len(json.loads(done.out)["hits"]) == 8


def test_folders_without_images(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(1, "empty", "index", tmp_path / "empty", "--into", tmp_path / "x.diml")
    (tmp_path / "empty" / "notes.txt").write_text("hello")
    refused(1, "empty", "index", tmp_path / "empty", "--into", tmp_path / "x.diml")
    refused(1, "empty", "evaluate", tmp_path / "empty")
    assert not (tmp_path / "x.diml").exists()


@pytest.mark.slow
def test_a_folder_with_all_that_can_be_wrong_is_indexed_as_far_as_it_goes(diml, shapes, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(shapes, folder)
    for name, make in BAD_IMAGES.items():
        make(folder / name)
    for name, make in ODD_IMAGES.items():
        make(folder / name)
    (folder / "loop").symlink_to(folder)
    (folder / "self.jpg").symlink_to("self.jpg")
    shutil.copy(CAT, os.fsencode(folder) + b"/caf\xe9.jpg")
    done = diml("index", folder, "--into", tmp_path / "mixed.diml")
    assert done.code == 0
    assert "14 added" in done.out
    for name in ("text.jpg", "truncated.jpg", "empty.png", "bomb.png", "fifo.jpg", "self.jpg", "caf\\xe9.jpg"):
        assert name in done.err, name
    assert json.loads(diml("info", tmp_path / "mixed.diml", "--json").out)["images"] == 14


def test_indexes_that_cannot_be_used(refused, shapes, shapes_index, tmp_path):
    def copy(name):
        shutil.copytree(shapes_index, tmp_path / name)
        return tmp_path / name

    half = copy("half.diml")
    (half / "model" / "model.safetensors").unlink()
    refused(1, "half.diml", "search", half, CAT)
    refused(1, "half.diml", "index", shapes, "--into", half)
    half = copy("half2.diml")
    next(half.rglob("*.lance/data/*.lance")).unlink()
    refused(1, "half2.diml", "search", half, CAT)
    newer = copy("newer.diml")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    refused(1, "newer.diml", "info", newer)
    refused(1, "model", "index", shapes, "--into", copy("other.diml"), "--model", "timm:resnet10t?weights=random")
    refused(1, "grid", "index", shapes, "--into", copy("grid.diml"), "--grid", 2)
    (tmp_path / "folder.diml").mkdir()
    (tmp_path / "folder.diml" / "mine.txt").write_text("keep me")
    refused(1, "folder.diml", "index", shapes, "--into", tmp_path / "folder.diml")
    assert (tmp_path / "folder.diml" / "mine.txt").read_text() == "keep me"


@pytest.mark.slow
def test_a_first_index_that_fails_leaves_no_index(refused, diml, shapes, tmp_path):
    into, bad = tmp_path / "new.diml", tmp_path / "bad"
    refused(2, "got 9x9", "index", shapes, "--into", into, "--grid", 9)
    assert not into.exists()
    bad.mkdir()
    (bad / "text.jpg").write_text("no image")
    refused(1, "can be read; the first: ", "index", bad, "--into", into)
    refused(1, "text.jpg", "index", bad, "--into", into)
    refused(1, "text.jpg", "index", bad, "--into", into, "--strict")
    assert not (into / "manifest.json").exists()
    assert diml("index", shapes, "--into", into, "--dim", 4).code == 0
    assert json.loads(diml("info", into, "--json").out)["dim"] == 4


def test_pruning_by_another_folder_is_refused(refused, diml, shapes, shapes_index, tmp_path):
    shutil.copytree(shapes_index, tmp_path / "own.diml")
    refused(2, "drop them all", "index", shapes / "disc", "--into", tmp_path / "own.diml", "--prune")
    assert json.loads(diml("info", tmp_path / "own.diml", "--json").out)["images"] == 8


def test_a_model_that_was_swapped_is_noticed(refused, shapes_index, tmp_path):
    swapped = tmp_path / "swapped.diml"
    shutil.copytree(shapes_index, swapped)
    weights = swapped / "model" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-4000:] = bytes(4000)
    weights.write_bytes(content)
    refused(1, "another model", "search", swapped, CAT)
    refused(1, "another model", "explain", CAT, CAT, "--model", swapped)


def test_no_command_shows_the_help_alone(diml):
    done = diml()
    assert (done.code, done.err) == (2, "")
    assert "explain" in done.out


@pytest.mark.slow
def test_ctrl_c_is_said_and_keeps_what_was_committed(shapes, tmp_path):
    code = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a job in the background is born deaf to it
        "from diml.search import writer\n"
        "commit = writer.Writer.commit\n"
        "def once(self):\n"
        "    commit(self)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "writer.Writer.commit = once\n"
        f"sys.argv = ['diml', 'index', {str(shapes)!r}, '--into', {str(tmp_path / 'x.diml')!r}]\n"
        "from diml.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith("diml: stopped")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_csv_files(refused, shapes, tmp_path, diml):
    def table(text):
        (shapes / "table.csv").write_text(text)
        return shapes / "table.csv"

    into = tmp_path / "x.diml"
    refused(1, "path", "index", table("file,label\ndisc/0.png,a\n"), "--into", into)
    refused(1, "disc/0.png", "evaluate", table("path,label\ndisc/0.png,a\ndisc/0.png,a\n"))
    refused(1, "label", "evaluate", table("path\ndisc/0.png\n"))
    refused(1, "none.png", "evaluate", table("path,label\nnone.png,a\n"))
    refused(1, "..", "evaluate", table("path,label\n../../secret.png,a\ndisc/0.png,a\n"))
    assert "1 added" in diml("index", table("path,color\ndisc/0.png,red\n"), "--into", tmp_path / "own.diml").out
    refused(1, "class", "evaluate", table("path,label\ndisc/0.png,a\nbar/0.png,b\n"))
    rows = "path,label\ndisc/0.png,a\ndisc/1.png,a\nbar/0.png,b\nnone.png,b\n"
    done = diml("evaluate", table(rows), "--json")
    document = json.loads(done.out)
    assert (document["images"], document["queries"], document["without_relevant"]) == (3, 2, 1)
    assert "none.png" in done.err
    (shapes / "table.csv").unlink()


@pytest.mark.slow
def test_nothing_is_left_of_a_picture_that_could_not_be_written(diml, tmp_path, monkeypatch):
    from diml.explanation import files

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    done = diml("explain", CAT, CAT, "--out", tmp_path / "why.png")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert "No space left" in done.err
    assert list(tmp_path.iterdir()) == []
