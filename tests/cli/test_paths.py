"""Paths on the command line: every command takes them by one rule."""

import inspect
import json
import os
import typing
from pathlib import Path

import pytest

from diml.cli.app import app
from diml.cli.path_options import PATH

COMMANDS = {command.callback.__name__.replace("_", "-"): command.callback for command in app.registered_commands}
# Where each command takes a path.
GIVEN = {
    "explain": ["PATH a.png", "a.png PATH", "a.png --against PATH", "a.png a.png --mask PATH"],
    "index": ["PATH --into x.diml", ". --into PATH", ". --into x.diml --labels-from PATH", ". --into x.diml -m PATH"],
    "search": ["PATH a.png", "a.png PATH", "a.png a.png --mask PATH", "a.png a.png -o PATH"],
    "pairs": ["PATH", ". -o PATH"],
    "info": ["PATH"],
    "serve": ["PATH", ". --token-file PATH", "--shards x=PATH"],
    "mcp": ["PATH", ". --root PATH"],
    "evaluate": ["PATH", "classes -m PATH"],
    "faithfulness": ["PATH", "classes -o PATH", "classes -m PATH"],
    "train": [
        "PATH",
        "classes --recipe PATH",
        "classes -o PATH",
        "classes -m PATH --set data.validation=0 --set data.batch=4",
    ],
    "report": ["PATH", "classes --csv PATH"],
    "import-checkpoint": ["PATH -o x", "a.png -o PATH"],
    "bench": [],
    "export": ["PATH --onnx x.onnx", "lite0 --onnx PATH"],
}
GIVEN["explain"] += ["a.png a.png --rather-than PATH", "a.png a.png -m PATH", "a.png a.png -o PATH"]
# Where images, or an index, may be on an object store.
STORES = {("index", "PATH --into x.diml"), ("search", "a.png PATH")}
STORES |= {(command, "PATH") for command in ("evaluate", "train", "faithfulness", "pairs", "info", "serve", "mcp")}
STORES |= {("search", "PATH a.png"), ("index", ". --into PATH"), ("serve", "--shards x=PATH")}
STORES |= {
    ("index", ". --into x.diml -m PATH"),
    ("explain", "a.png a.png -m PATH"),
    ("export", "PATH --onnx x.onnx"),
    ("evaluate", "classes -m PATH"),
    ("faithfulness", "classes -m PATH"),
}


def path_parameters(command):
    for name, hint in typing.get_type_hints(command, include_extras=True).items():
        kind = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        if Path in (kind, *typing.get_args(kind)):
            yield name, hint


def test_every_path_is_read_by_the_rule():
    counted = 0
    for command in COMMANDS.values():
        assert inspect.isfunction(command)
        for name, hint in path_parameters(command):
            counted += 1
            assert hint.__metadata__[0].parser is PATH["parser"], (command.__name__, name)
    assert counted >= 20


def test_a_path_is_missing_from_no_list():
    assert GIVEN.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_urls_are_refused_and_nothing_is_written(refused, command, tmp_path, monkeypatch, shapes):
    monkeypatch.chdir(tmp_path)
    os.link(shapes / "disc" / "0.png", "a.png")
    for label in "wxyz":
        Path("classes", label).mkdir(parents=True)
        for i in range(2):
            os.link(shapes / "disc" / f"{i}.png", Path("classes", label, f"{i}.png"))
    before = sorted(tmp_path.rglob("*"))
    for arguments in GIVEN[command]:
        for url in ("s3://bucket/x.diml", "https://example.org/x.png"):
            if url.startswith("s3:") and (command, arguments) in STORES:
                continue
            refused(2, f"got the URL {url}; give a local path", command, *arguments.replace("PATH", url).split())
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_the_home_directory_in_every_command(diml, shapes, tmp_path, monkeypatch):
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    (home / "shapes").symlink_to(shapes)
    (home / "recipe.toml").write_text("[optim]\nepochs = 1\n")
    (home / "labels.csv").write_text("path,label\ndisc/0.png,round\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    from diml.model import StructuralModel

    StructuralModel.from_pretrained("timm:test_vit?weights=random").save_pretrained(home / "model")
    a, b = "~/shapes/disc/0.png", "~/shapes/bar/0.png"
    small = ["--set", "model.dim=3", "--set", "data.batch=4", "--set", "data.validation=0", "--set", "data.workers=0"]

    def done(*arguments):
        result = diml(*arguments)
        assert result.code == 0, result
        return result.out

    done("index", "~/shapes", "--into=~/t.diml", "-m", "~/model", "--labels-from=~/labels.csv", "--dim", 0)
    stats = json.loads(done("info", "~/t.diml", "--json"))
    assert (stats["images"], stats["labels"], stats["path"]) == (8, 1, str(home / "t.diml"))
    found = json.loads(done("search", "~/t.diml", a, "--out=~/hits.png", f"--mask={a}", "--json"))
    assert found["hits"][0]["path"] == "disc/0.png"
    done("explain", a, b, "--model=~/t.diml", "--out=~/why.html")
    done("explain", a, b, f"--rather-than={b}", "--model=~/model", "--out=~/rather.png")
    done("explain", a, "--against=~/shapes", "--model=~/model", "--out=~/against.png")
    done("evaluate", "~/shapes", "--model=~/model", "--dim", 0)
    done("faithfulness", "~/shapes", "-m", "~/model", "--pairs", 2, "--measure", "stability", "--out=~/faith")
    for number, file in enumerate(sorted(shapes.rglob("*.png"))):
        link = home / "classes" / f"class{number // 2}" / file.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    done("train", "~/classes", "--recipe=~/recipe.toml", "--model=~/model", "--out=~/run", *small)
    done("report", "~/run", "--csv=~/report.csv")
    assert os.listdir(work) == []
    made = {"t.diml", "hits.png", "why.html", "rather.png", "against.png", "faith", "run", "report.csv"}
    given = {"shapes", "recipe.toml", "labels.csv", "model", "classes"}
    # matplotlib keeps folders there that begin with a dot.
    assert {name for name in os.listdir(home) if name[0] != "."} == made | given
