"""A file is written whole or not at all."""

import os

import pytest

from diml.errors import DimlError, UsageError
from diml.explanation import (
    NamedImage,
    PairExplanation,
    check_no_source,
    check_output,
    draw_match,
    save_page,
    save_picture,
)
from diml.explanation.drawing import pair_figure
from diml.explanation.files import write_file


@pytest.fixture
def figure(match, image_a, image_b):
    a, b = NamedImage.of(image_a, "a"), NamedImage.of(image_b, "b")
    return pair_figure(PairExplanation(match, a, b), parts=2)


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("PDF", b"%PDF")])
def test_the_ending_says_the_format(figure, tmp_path, ending, start):
    path = tmp_path / f"why.{ending}"
    save_picture(figure, path)
    assert path.read_bytes().startswith(start)
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_picture_gives_the_same_bytes(match, image_a, image_b, tmp_path, ending):
    for i in range(2):
        draw_match(match, tmp_path / f"{i}.{ending}", image_a, image_b)
    assert (tmp_path / f"0.{ending}").read_bytes() == (tmp_path / f"1.{ending}").read_bytes()


@pytest.mark.parametrize("name", ["why.gif", "why", "why.", ".png"])
def test_another_ending_is_wrong_usage(figure, tmp_path, name):
    with pytest.raises(UsageError, match=r"\.png, \.svg, \.pdf"):
        save_picture(figure, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_missing_folder_is_one_sentence(figure, tmp_path):
    with pytest.raises(UsageError, match="does not exist; make it first"):
        save_picture(figure, tmp_path / "no" / "why.png")
    with pytest.raises(DimlError, match="cannot write"):
        write_file(tmp_path / "no" / "why.png", lambda file: None)


def test_a_folder_is_not_overwritten(tmp_path):
    (tmp_path / "why.png").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        check_output(tmp_path / "why.png")


def test_what_is_read_is_not_overwritten(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "link.png").symlink_to("a.png")
    for name in ("a.png", "link.png"):
        with pytest.raises(UsageError, match="one of the images to read; name another file"):
            check_no_source(tmp_path / name, [tmp_path / "none.png", tmp_path / "a.png"])
    check_no_source(tmp_path / "b.png", [tmp_path / "a.png"])


def test_what_was_there_stays_when_writing_fails(tmp_path):
    path = tmp_path / "hits.html"
    path.write_text("old")

    def fails(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DimlError, match="No space left on device"):
        write_file(path, fails)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["hits.html"]


def test_a_link_is_followed(tmp_path):
    real, link = tmp_path / "real.html", tmp_path / "link.html"
    real.write_text("old")
    link.symlink_to(real)
    save_page("<p>new</p>", link)
    assert link.is_symlink()
    assert real.read_text() == "<p>new</p>"


def test_a_page_ends_in_html(tmp_path):
    with pytest.raises(UsageError, match=r"\.html"):
        save_page("", tmp_path / "page.txt")
