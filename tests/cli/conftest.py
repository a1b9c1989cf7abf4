"""Commands are run in this process: the same code as `diml`, without paying for the imports each time."""

import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image, ImageDraw

from diml.cli import main

SAMPLE = Path(__file__).parents[2] / "sample"


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def diml(capsys, monkeypatch):
    """Run `diml ARGUMENTS`; gives exit code, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["diml", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return Done(left.value.code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """Two classes of four drawings each, quick to embed."""
    folder = tmp_path_factory.mktemp("shapes")
    for name in ("disc", "bar"):
        (folder / name).mkdir()
        for i in range(4):
            image = Image.new("RGB", (60 + 5 * i, 50), ("white", "ivory", "beige", "azure")[i])
            draw = ImageDraw.Draw(image)
            if name == "disc":
                draw.ellipse((15 + i, 10, 45 + i, 40), fill="darkred")
            else:
                draw.rectangle((5, 20 + i, 55, 28 + i), fill="navy")
            image.save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def shapes_index(shapes, tmp_path_factory):
    from diml.search import index_folder

    into = tmp_path_factory.mktemp("index") / "shapes.diml"
    index_folder(shapes, into, labels_from="folder")
    return into


@pytest.fixture
def refused(diml):
    """Run a command that must be refused: the right exit code, one line that says these words, and no other output."""

    def check(code, said, *arguments):
        done = diml(*arguments)
        assert done.code == code, done
        assert done.out == ""
        assert done.err.count("\n") == 1, done.err
        assert done.err.startswith("diml: ")
        assert str(said) in done.err
        assert "Traceback" not in done.err

    return check
