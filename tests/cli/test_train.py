"""diml train: what it prints, what the other commands do with its model, and what it refuses."""

import importlib
import json
import shutil
import sys

import pytest
from PIL import Image

from diml.cli.train import _default_folder

TINY = """--model timm:test_resnet?weights=random --set model.dim=6 --set model.grid=2x2 --set data.size=64
    --set data.batch=4 --set data.workers=0 --set data.validation=0 --set model.head=random --set optim.epochs=1
    --set run.accelerator=cpu"""
TINY = TINY.split()


@pytest.fixture(autouse=True)
def without_curves(monkeypatch):
    """Training does not draw its curves, which takes most of the time of a tiny run."""
    monkeypatch.setattr("diml.learning.run.recorder.draw_curves", lambda *arguments: None)


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """Six classes of three drawings: three for training, three for testing."""
    folder = tmp_path_factory.mktemp("drawings")
    for number in range(6):
        (folder / f"class{number}").mkdir()
        for i in range(3):
            image = Image.new("RGB", (40, 30 + i), (40 * number, 90, 200 - 30 * number))
            image.paste((250 - 40 * number, 30 * number, 90), (5 + i, 5, 25 + 2 * i, 22))
            image.save(folder / f"class{number}" / f"{i}.png")
    return folder


def test_help_shows_an_example(diml):
    done = diml("train", "--help")
    assert done.code == 0
    assert "Example: diml train" in " ".join(done.out.split())


def test_a_line_for_each_epoch_and_the_test_half_at_the_end(diml, drawings, tmp_path):
    out = tmp_path / "run"
    done = diml("train", drawings, "--out", out, *TINY, "--set", "data.validation=none", "--set", "data.validation=0")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == f"{drawings}: 9 training images of 3 classes, 9 test images of 3 classes"
    assert lines[1].startswith("loss: margin")
    assert lines[2].split() == ["epoch", "0/1", "before", "training"]
    assert lines[3].startswith("epoch 1/1  loss ")
    assert lines[3].endswith(" images/s")
    assert f"The best model is that of epoch 1: {out / 'model'}" in lines
    assert any(line.startswith("|         0 |") for line in lines)


@pytest.mark.slow
def test_the_other_commands_take_the_run(diml, drawings, tmp_path):
    done = diml("train", drawings, "--out", tmp_path / "run", "--json", "--similarity", "pooled", *TINY)
    document = json.loads(done.out)
    assert (done.err, document["settings"]["loss"]["similarity"]) == ("", "pooled")
    model = tmp_path / "run" / "model"
    evaluated = json.loads(diml("evaluate", drawings, "--model", model, "--json").out)
    assert evaluated["head"].startswith("the model's own, fitted on 9 training images of ")
    index = tmp_path / "index.diml"
    assert "18 images in all" in diml("index", drawings, "--into", index, "--model", model).out
    a, b = drawings / "class0" / "0.png", drawings / "class0" / "1.png"
    assert diml("search", index, a, "-k", "2").code == 0
    assert json.loads(diml("explain", a, b, "--model", tmp_path / "run", "--json").out)["model"] == "run"


def test_classes_in_both_halves_are_told_of(diml, drawings, tmp_path):
    data = shutil.copytree(drawings, tmp_path / "data")
    rows = ["path,label,split"]
    for number, label in enumerate(["a", "b", "c", "c", "d", "e"]):
        rows += [f"class{number}/{i}.png,{label},{'train' if number < 3 else 'test'}" for i in range(3)]
    (data / "mixed.csv").write_text("\n".join(rows) + "\n")
    done = diml("train", data / "mixed.csv", "--out", tmp_path / "run", "--json", *TINY)
    assert json.loads(done.out)["test"]["classes"] == 3
    assert done.err.startswith("1 of the 3 test classes, such as c, are also training classes: ")
    assert done.err.count("\n") == 1


@pytest.mark.slow
def test_resumed_without_saying_the_settings_again(diml, refused, drawings, tmp_path):
    out = tmp_path / "run"
    assert diml("train", drawings, "--out", out, *TINY).code == 0
    longer = diml("train", drawings, "--out", out, "--resume", "--set", "optim.epochs=2")
    assert longer.code == 0, longer
    assert longer.out.splitlines()[3].startswith("epoch 2/2")
    refused(2, "was begun with loss.similarity = 'structural'", *f"train {drawings} --out {out}".split(), "--resume",
            "--similarity", "pooled")  # fmt: skip
    refused(2, "is not empty; continue with --resume or", "train", drawings, "--out", out, *TINY)


def test_what_is_refused_is_said_in_one_line(refused, drawings, tmp_path):
    out = ("--out", tmp_path / "run")
    refused(2, "optim.epochs", "train", drawings, *out, "--set", "optim.epochs=many")
    refused(2, "no such recipe", "train", drawings, *out, "--recipe", tmp_path / "none.toml")
    refused(2, "nowhere", "train", tmp_path / "nowhere", *out, *TINY)
    refused(2, "margni", "train", drawings, *out, *TINY, "--loss", "margni")
    refused(2, "has no run to resume", "train", drawings, *out, "--resume", *TINY)
    refused(1, "no such model", "train", drawings, *out, *TINY, "--model", "lite9")
    refused(1, "needs 20", "train", drawings, *out, *TINY, "--set", "data.batch=40")
    refused(2, "this machine does not support", "train", drawings, *out, *TINY, "--set", "run.accelerator=mps")
    assert not (tmp_path / "run").exists()


def test_a_missing_extra_is_named(refused, drawings, tmp_path, monkeypatch):
    importlib.import_module("lightning.pytorch")  # completely, before one of its modules is hidden
    for module in [name for name in sys.modules if name.startswith("diml.learning.run.train")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "lightning.pytorch.strategies", None)
    refused(2, "pip install 'diml[train]'", "train", drawings, "--out", tmp_path / "run", *TINY)


def test_ctrl_c_before_anything_was_kept(refused, drawings, tmp_path, monkeypatch):
    from diml.learning.run import prepared_run

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepared_run, "fit_head", interrupted)
    refused(130, "stopped; nothing was saved yet", "train", drawings, "--out", tmp_path / "run", *TINY)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("sample/emoji/", "emoji"),
        ("cub200:/data/CUB_200_2011", "CUB_200_2011"),
        ("sop:x", "sop-x"),
        ("a b/data.csv", "data"),
    ],
)
def test_runs_are_named_after_what_they_do(spec, name):
    from diml.learning.run.settings_file import load_settings

    settings = load_settings(None, [f"data.spec={spec}", "run.seed=2", "loss.similarity=pooled"])
    assert str(_default_folder(settings)) == f"runs/{name}-margin-pooled-seed2"
