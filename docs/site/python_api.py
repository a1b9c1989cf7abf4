"""The pages of the Python reference: one for each subpackage, listing the public names that mkdocstrings documents.

The code is read, not imported.
"""

from __future__ import annotations

from pathlib import Path

import griffe

START = """# The package `diml`

`import diml` loads nothing slow: each name below is loaded when it is first used. Each is documented with
the subpackage that defines it.

| name | |
|---|---|
"""


# Modules without `__all__`, and a subpackage of a subpackage.
FURTHER = ["errors", "feature_maps", "explanation.methods"]


def api_pages(source: Path) -> dict[str, str]:
    """File name to Markdown, for `diml` itself and each subpackage with public names.

    Args:
        source: the folder that holds the package.
    """
    package = griffe.load("diml", search_paths=[str(source)], resolve_aliases=True)
    pages = {"diml.md": START + "".join(_row(package, name) for name in public_names(package))}
    for name in [name for name, module in package.modules.items() if module.exports] + FURTHER:
        pages[f"{name}.md"] = _page(package[name])
    return pages


def public_names(module: griffe.Module) -> list[str]:
    """The names in `__all__`, or else what the module defines without an underscore.

    >>> public_names(griffe.visit("m", Path("m.py"), '__all__ = ["a"]\\na = b = 1'))
    ['a']
    """
    if module.exports:
        return [str(name) for name in module.exports]
    return [name for name, member in module.members.items() if not member.is_alias and not name.startswith("_")]


def _row(package: griffe.Module, name: str) -> str:
    item = package[name]
    home = item.target_path if item.is_alias else item.path
    first = item.docstring.value.split("\n")[0] if item.docstring else ""
    return f"| [`diml.{name}`][{home}] | {first} |\n"


def _page(module: griffe.Module) -> str:
    names = "".join(f"\n        - {name}" for name in public_names(module))
    return f"# {module.path}\n\n::: {module.path}\n    options:\n      members:{names}\n"
