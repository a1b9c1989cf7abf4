"""docs/architecture.md says what the code does: its levels are the import rule's, and the files it names exist."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "diml"


def rule():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    return next(contract["layers"] for contract in contracts if contract["type"] == "layers")


def test_the_levels_are_those_of_the_import_rule():
    block = re.search(r"```text\n(cli\n.*?)```", PAGE, re.DOTALL).group(1)
    assert block.splitlines() == rule()


def test_every_module_of_the_package_has_a_level():
    names = {name for level in rule() for name in level.split(" | ")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert modules - {"__init__"} == names


def test_the_drawing_shows_every_level():
    drawing = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    shown = re.findall(r'font-weight="bold"[^>]*>(\w+)<', drawing)
    assert shown == [name for level in rule() for name in level.split(" | ")]
    assert "http" not in drawing.replace("http://www.w3.org/2000/svg", "")


def test_the_files_it_names_exist():
    full = re.findall(r"`(src/diml/[\w./]+)`", PAGE)
    short = re.findall(
        r"(?<![\w/])((?:data|embedding|matching|model|evaluation|search|explanation|learning)/\w+(?:\.py)?)", PAGE
    )
    assert len(full) >= 15
    assert len(short) >= 8
    missing = [name for name in full if not (ROOT / name).exists()]
    missing += [name for name in short if not (PACKAGE / name).exists()]
    assert not missing


def test_every_subpackage_is_described():
    described = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(described) == sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def test_the_names_it_gives_are_in_the_files():
    for file, name in re.findall(r"`(src/diml/[\w/]+\.py)`[^|`]*`([A-Z]{4,})`", PAGE):
        assert re.search(rf"^{name}\b", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), (file, name)
