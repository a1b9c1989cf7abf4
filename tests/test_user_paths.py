"""One rule for every path that a user gives: `~` is the home directory, a URL is refused, and nothing else changes."""

import os
from pathlib import Path

import pytest
from PIL import Image
from torch import nn

from diml.data import open_dataset, open_folder, open_image, open_mask, open_table
from diml.embedding import read_weights
from diml.errors import DimlError, UsageError
from diml.explanation import explain_agreement, explain_pair
from diml.explanation.files import check_output
from diml.faithfulness import open_pairs
from diml.files import user_path
from diml.model import StructuralModel
from diml.model.published import import_checkpoint
from diml.search import Index, index_folder

RED = Image.new("RGB", (32, 32), "red")


def model():
    return StructuralModel.wrap(nn.Conv2d(3, 6, 16, 16), grid=(2, 2))


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home directory beside the working directory, which has to stay empty."""
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "work")
    yield tmp_path / "home"
    assert os.listdir(tmp_path / "work") == []


class TestRule:
    def test_home(self, home):
        assert user_path("~/a.diml") == user_path(Path("~/a.diml")) == home / "a.diml"
        assert user_path("~") == home
        assert user_path("~root/a") == Path("/root/a")

    @pytest.mark.parametrize("path", ["a.diml", "./a", "../a", "/a/b", "a~b/~c", "C:/a", "a:b", "2024:/a", "cub:/a"])
    def test_other_paths_stay(self, path):
        assert user_path(path) == Path(path)

    def test_a_name_that_begins_with_a_tilde(self, home):
        here = Path.cwd()
        assert user_path("~draft.png") == here / "~draft.png"
        # Given again, as by a command to a function, it is still the same.
        assert user_path(user_path("./~/a.png")) == user_path(here / "~" / "a.png") == here / "~" / "a.png"

    @pytest.mark.parametrize("url", ["s3://b/x.diml", "http://a.org/x", "file:///a", "hf://a/b", "S3://b"])
    def test_urls(self, url):
        with pytest.raises(UsageError, match=f"expected a path on this machine, got the URL {url}; give a local path"):
            user_path(url)
        with pytest.raises(UsageError, match="got the URL"):
            user_path(Path(url))

    @pytest.mark.parametrize(
        ("path", "said"),
        [("", "an empty one"), ("a\0b", "NUL"), (3, "got int"), (None, "got NoneType"), (b"a", "got bytes")],
    )
    def test_no_paths(self, path, said):
        with pytest.raises(UsageError, match=said):
            user_path(path)


def test_a_nul_character_in_the_name_of_a_data_set():
    with pytest.raises(UsageError, match="expected a path without NUL characters"):
        open_dataset("x\0y")


READ = {
    "open_image": open_image,
    "open_mask": open_mask,
    "open_folder": open_folder,
    "labels of a folder": lambda path: open_folder(Path(__file__).parents[1] / "sample" / "emoji", path),
    "open_table": open_table,
    "open_dataset": open_dataset,
    "a benchmark": lambda path: open_dataset(f"cub200:{path}"),
    "from_pretrained": StructuralModel.from_pretrained,
    "weights": lambda path: StructuralModel.from_pretrained(f"timm:test_resnet?weights={path}"),
    "read_weights": read_weights,
    "import_checkpoint": import_checkpoint,
    "encode": lambda path: model().encode(path),
    "encode a list": lambda path: model().encode([RED, path]),
    "compare": lambda path: explain_pair(model(), path, RED),
    "mask": lambda path: explain_pair(model(), RED, RED, mask=path),
    "agreement": lambda path: explain_agreement(model(), RED, path),
    "Index.open": Index.open,
    "index.add": lambda path: Index.create("~/new.diml", model()).add(path),
    "index.add files": lambda path: Index.create("~/new.diml", model()).add([path, path]),
    "index_folder": lambda path: index_folder(path, "~/new.diml", model=model()),
    "open_pairs": lambda path: open_pairs(path, 3),
    "open_pairs of photographs": lambda path: open_pairs(f"photos:{path}", 3),
    "draw": lambda path: explain_pair(model(), RED, RED).draw(f"{path}/why.png"),
    "check_output": lambda path: check_output(f"{path}/why.png"),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_read_or_written_is_looked_for_in_the_home_directory(home, name):
    with pytest.raises(DimlError) as caught:
        READ[name]("~/none-here")
    assert str(home / "none-here") in str(caught.value)


# What reads images, or an index, also where they are on an object store.
STORES = {
    *("open_image", "open_mask", "open_dataset", "encode", "encode a list", "compare", "mask", "index.add"),
    *("index.add files", "index_folder", "open_pairs", "Index.open"),
}


@pytest.mark.parametrize("name", READ)
def test_urls_are_refused_wherever_a_path_is_given(home, name):
    for url in ["https://example.org/none-here", *([] if name in STORES else ["s3://bucket/none-here"])]:
        with pytest.raises(DimlError) as caught:
            READ[name](url)
        assert f"got the URL {url}" in str(caught.value)


def test_what_is_written_goes_to_the_home_directory(home):
    RED.save(home / "red.png")
    index, report = index_folder("~", "~/photos.diml", model=model())
    assert (report.added, index.path) == (1, home / "photos.diml")
    assert len(Index.open("~/photos.diml", backbone=nn.Conv2d(3, 6, 16, 16))) == 1
    assert sorted(os.listdir(home / "photos.diml"))[:2] == ["adding.lock", "images.lance"]
    model().save_pretrained("~/model")
    explain_pair(model(), "~/red.png", "~/red.png").draw("~/why.png")
    # matplotlib keeps folders there that begin with a dot.
    assert {name for name in os.listdir(home) if name[0] != "."} == {"model", "photos.diml", "red.png", "why.png"}
    with pytest.raises(UsageError, match="got the URL"):
        Index.create("https://bucket/x.diml", model())


def test_a_folder_that_is_called_like_the_home_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    RED.save(tmp_path / "~" / "red.png")
    assert index_folder(".", "all.diml", model=model())[1].added == 1


class TestTraining:
    def test_recipe_and_runs(self, home):
        pytest.importorskip("lightning")
        from diml.learning import load_settings, train
        from diml.learning.run.report import report

        for path, said in (("~/none", str(home / "none")), ("https://b/none", "got the URL https://b/none")):
            with pytest.raises(UsageError, match=said):
                load_settings(path)
            with pytest.raises(UsageError, match=said):
                report([path])
            with pytest.raises(DimlError, match=said):
                train(load_settings(None, [f"data.spec={path}"]), "~/run")
            with pytest.raises(UsageError, match=said):
                train(load_settings(None, ["data.spec=~/none"]), path, resume=True)
