"""Build the documentation site into site/: the pages of this repository, and a reference made from the code.

    python docs/site/build.py

The pages keep their places relative to each other, so a link that works in the repository works on the site. A warning
of MkDocs (a broken link or anchor, a page without a place in the menu) fails the build, and so does a page that would
load anything from the network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from commands import commands_page
from offline import external_assets
from python_api import api_pages

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SOURCE = ROOT / "build" / "site-source"
SITE = ROOT / "site"
# What a page shows or links to beside other pages.
COPIED = (
    "*.md",
    "*.cff",
    "LICENSE",
    "Dockerfile",
    "deploy/*",
    "docs/**/*",
    "examples/*",
    "recipes/*",
    "benchmarks/clutter/*.*",
    "benchmarks/correspondences/*.*",
    "benchmarks/dinov2/*.*",
    "benchmarks/emoji/*.*",
    "benchmarks/food/*.*",
    "benchmarks/furniture/*.*",
    "sample/*.*",
    "sample/licenses/*",
)


def main() -> int:
    stage()
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--clean"]
    # Material announces MkDocs 2 on every build; pyproject.toml keeps that version out.
    # The log is shown when something is wrong; --quiet would hide warnings from --strict.
    built = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    if built.returncode:
        print(built.stdout, built.stderr, sep="\n", file=sys.stderr)
        return built.returncode
    if found := external_assets(SITE):
        print("the site must load nothing from the network, but does:", *found, sep="\n  ", file=sys.stderr)
        return 1
    print(f"The site is in {SITE / 'index.html'}")
    return 0


def stage() -> None:
    """Copy the pages and what they link to, and write the reference beside them."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for pattern in COPIED:
        for path in ROOT.glob(pattern):
            if path.is_file() and not path.is_relative_to(HERE):
                target = SOURCE / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    shutil.copytree(HERE / "assets", SOURCE / "assets")
    reference = SOURCE / "reference"
    reference.mkdir()
    (reference / "commands.md").write_text(commands_page(), encoding="utf-8")
    for name, text in api_pages(ROOT / "src").items():
        (reference / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
