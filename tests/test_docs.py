"""The README, CONTRIBUTING and the docs: their Python runs, the README's commands print what it says, links resolve."""

import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from diml.cli import main
from diml.explanation.methods import METHODS
from diml.learning import LOSSES
from diml.matching import MARGINALS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    (tmp_path / "sample").symlink_to(ROOT / "sample")
    (tmp_path / "docs").mkdir()
    monkeypatch.chdir(tmp_path)
    # What a page registers is known to its own test only.
    registries = [(registry, dict(registry)) for registry in (MARGINALS, LOSSES, METHODS)]
    yield tmp_path
    for registry, before in registries:
        registry.clear()
        registry.update(before)


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
@pytest.mark.slow
def test_python_in_the_docs_works(page, workplace):
    for code in blocks(page, "python"):
        exec(compile(code, str(page), "exec"), {})


def test_the_readme_has_ten_lines_of_python():
    lines = [line for line in blocks(ROOT / "README.md", "python")[0].splitlines() if line.strip()]
    assert len(lines) <= 11


@pytest.mark.slow
def test_commands_in_the_readme_print_what_it_says(workplace, monkeypatch, capsys):
    seen = 0
    for block in blocks(ROOT / "README.md", "console"):
        for command, printed in re.findall(r"^\$ (diml .*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            monkeypatch.setattr(sys, "argv", shlex.split(command))
            with pytest.raises(SystemExit) as left:
                main()
            assert not left.value.code, command
            assert_alike(capsys.readouterr().out, printed)
            seen += 1
    assert seen >= 4
    assert (workplace / "docs" / "why-photos.png").stat().st_size > 50_000


def assert_alike(now, then):
    """The same words, and the same numbers to 2 in the last place but one: rounding depends on the processor."""
    if not then.strip():
        return
    pattern = r"\d+\.\d+"
    assert re.sub(pattern, "#", now).split() == re.sub(pattern, "#", then).split()
    for one, other in zip(re.findall(pattern, now), re.findall(pattern, then), strict=True):
        assert abs(float(one) - float(other)) <= 2.01 * 10 ** -(len(other.split(".")[1]) - 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        assert target.startswith("https:") or (page.parent / target).exists(), target


def test_changelog_and_citation_know_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\n## {version}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
