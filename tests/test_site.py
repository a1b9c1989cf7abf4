"""The documentation site: its reference follows the code, and its pages load nothing from elsewhere."""

import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest
import typer.main

from diml.cli.app import app

ROOT = Path(__file__).parents[1]


@pytest.fixture
def part(monkeypatch):
    """A module of docs/site, by name."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    yield importlib.import_module
    for name in ("commands", "offline", "python_api"):
        sys.modules.pop(name, None)


def test_every_command_and_option_is_in_the_reference(part):
    page = part("commands").commands_page()
    group = typer.main.get_command(app)
    assert len(group.commands) >= 10
    for name, command in group.commands.items():
        section = page.split(f"## diml {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            wanted = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name
            assert re.search(rf"`[^`]*{re.escape(wanted)}", section), (name, wanted)


def test_every_public_name_is_in_the_reference(part):
    pytest.importorskip("griffe")
    pages = part("python_api").api_pages(ROOT / "src")
    for name, page in pages.items():
        module = importlib.import_module("diml" if name == "diml.md" else f"diml.{name.removesuffix('.md')}")
        missing = [
            public
            for public in getattr(module, "__all__", [])
            if f"- {public}\n" not in page + "\n" and f"diml.{public}`" not in page
        ]
        assert not missing, name
    packages = {path.parent.name for path in (ROOT / "src" / "diml").glob("*/__init__.py")} - {"cli"}
    assert packages <= {name.removesuffix(".md") for name in pages}


@pytest.mark.parametrize(
    "html",
    [
        '<link rel="stylesheet" href="https://a.example/x.css">',
        '<script src="//a.example/x.js"></script>',
        '<img src="HTTP://a.example/x.png">',
        '<img srcset="x.png 1x, https://a.example/y.png 2x">',
        "<style>@import url(https://a.example/x.css);</style>",
        "<p style=\"background: url('https://a.example/x.png')\">",
    ],
)
def test_an_asset_from_elsewhere_is_found(part, html):
    assert part("offline").loaded_by_html(html)


def test_links_and_own_assets_are_none(part):
    html = '<a href="https://a.example">a</a><img src="x.png"><link rel="canonical" href="https://a.example">'
    assert part("offline").loaded_by_html(html) == []


def test_a_font_from_elsewhere_is_found(part, tmp_path):
    (tmp_path / "x.css").write_text("@font-face { src: url('https://a.example/f.woff2') }")
    assert part("offline").external_assets(tmp_path) == ["x.css: https://a.example/f.woff2"]


def test_the_examples_of_its_scripts_run(part):
    for name in ("commands", "offline"):
        assert doctest.testmod(part(name)).failed == 0
