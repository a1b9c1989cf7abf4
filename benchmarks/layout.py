"""Print how the package is laid out, for one or several commits: files, lines, and class names with several meanings.

    python benchmarks/layout.py 75489c3 HEAD

Lines are those of the Python files in src/diml. A class name has several meanings if several files define a class of
that name. Functions are counted with their docstrings.
"""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from collections import Counter
from pathlib import Path

from diml.markdown import table

ROOT = Path(__file__).parents[1]


def main(revisions: list[str]) -> None:
    layouts = [layout(revision) for revision in revisions]
    print(table(["src/diml", *revisions], [[name, *(each[name] for each in layouts)] for name in layouts[0]]))


def layout(revision: str) -> dict[str, str]:
    """The numbers of one commit, by what they are."""
    files = python_files(revision)
    lines = {name: len(text.splitlines()) for name, text in files.items()}
    trees = [ast.parse(text) for text in files.values()]
    classes = Counter(node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef))
    functions = [
        node.end_lineno - node.lineno + 1
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.end_lineno
    ]
    longest = max(lines, key=lambda name: lines[name])
    several = sorted(name for name, count in classes.items() if count > 1)
    return {
        "files": str(len(files)),
        "lines": f"{sum(lines.values()):,}",
        "lines of a file, median": f"{statistics.median(lines.values()):g}",
        "files of more than 250 lines": str(sum(count > 250 for count in lines.values())),
        "longest file": f"{longest.removeprefix('src/diml/')}, {lines[longest]}",
        "lines of a function, median": f"{statistics.median(functions):g}",
        "class names with several meanings": f"{len(several)}: {', '.join(several)}" if several else "0",
    }


def python_files(revision: str) -> dict[str, str]:
    """Path and text of every Python file of the package at a commit."""
    names = _git("ls-tree", "-r", "--name-only", revision, "src/diml").splitlines()
    return {name: _git("show", f"{revision}:{name}") for name in names if name.endswith(".py")}


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout


if __name__ == "__main__":
    main(sys.argv[1:] or ["HEAD"])
