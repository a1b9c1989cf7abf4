"""The scripts of examples/ run, and write to the folder they are given."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(capsys):
    """Run the `main` of an example, with a folder if it writes something, and return what it prints."""

    def run(name, *folder):
        spec = importlib.util.spec_from_file_location(f"example_{name.removesuffix('.py')}", EXAMPLES / name)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.main(*folder)
        return capsys.readouterr().out

    return run


def test_own_features(run):
    printed = run("own_features.py")
    # Image 1 has the parts of image 0 in reverse order, and they are found there.
    assert "(1, 3) with (2, 0)" in printed


@pytest.mark.slow
def test_own_backbone(run, tmp_path):
    printed = run("own_backbone.py", tmp_path)
    assert "512 numbers for each part of a 4 x 4 grid" in printed
    assert printed.splitlines()[2].endswith("chelsea.jpg")
    assert (tmp_path / "photos.diml").is_dir()


@pytest.mark.slow
def test_part_query(run):
    printed = run("part_query.py")
    assert printed.splitlines()[0].endswith("1f408-cat")
    assert "[(1, 2), (1, 3), (2, 2), (2, 3)]" in printed


@pytest.mark.slow
def test_search_with_pictures(run, tmp_path):
    printed = run("search_with_pictures.py", tmp_path)
    assert "chelsea.jpg" in printed
    assert (tmp_path / "hits.png").stat().st_size > 50_000
    assert "chelsea" in (tmp_path / "hits.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_train_on_a_folder(run, tmp_path):
    printed = run("train_on_a_folder.py", tmp_path)
    assert "recall@1" in printed
    assert (tmp_path / "run" / "model" / "config.json").exists()


def test_all_examples_are_tested_and_short():
    tests = Path(__file__).read_text(encoding="utf-8")
    for example in EXAMPLES.glob("*.py"):
        assert f'run("{example.name}"' in tests
        assert len(example.read_text(encoding="utf-8").splitlines()) <= 50
