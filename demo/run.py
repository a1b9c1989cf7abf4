"""The main tasks on the images of sample/, by the commands that a user would type: index, search, explain, evaluate.

All files are written to demo-out/.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from diml.cli import main as diml

HOME = Path(__file__).resolve().parent.parent
OUT = Path("demo-out")
CAT = "sample/photos/chelsea.jpg"
VIEW = "sample/photos/chelsea-mirrored-cropped-brighter.jpg"
QUERY = "sample/emoji/1f408-cat/noto.png"
OTHER = "sample/emoji/1f408-cat/twemoji.png"
DOG = "sample/emoji/1f415-dog/noto.png"

COMMANDS = [
    ("Index a folder of images", f"diml index sample/emoji --into {OUT}/emoji.diml --labels-from folder"),
    ("Find images similar to one of them", f"diml search {OUT}/emoji.diml {QUERY} -k 8 --out {OUT}/hits.png"),
    ("The same, as a page", f"diml search {OUT}/emoji.diml {QUERY} -k 8 --out {OUT}/hits.html"),
    (
        "Why are two of them similar?",
        f"diml explain {QUERY} {OTHER} --model {OUT}/emoji.diml --out {OUT}/why-emoji.png",
    ),
    (
        "The same, as an interactive page",
        f"diml explain {QUERY} {OTHER} --model {OUT}/emoji.diml --out {OUT}/why-emoji.html",
    ),
    (
        "Why a cat rather than a dog?",
        f"diml explain {QUERY} {OTHER} --rather-than {DOG} --model {OUT}/emoji.diml --out {OUT}/rather-than.png",
    ),
    ("And two photographs of one cat?", f"diml explain {VIEW} {CAT} --out {OUT}/why-photos.png"),
    ("How often is the best hit right?", f"diml evaluate sample/emoji --model {OUT}/emoji.diml"),
]


def run(command: str) -> None:
    """Run a command in this process: starting one for each would import the libraries again, for seconds each time."""
    sys.argv = shlex.split(command)
    try:
        diml()
    except SystemExit as left:
        if left.code:
            raise


def main() -> None:
    start = time.perf_counter()
    os.chdir(HOME)
    shutil.rmtree(HOME / OUT, ignore_errors=True)
    (HOME / OUT).mkdir()
    for title, command in COMMANDS:
        print(f"\n# {title}\n$ {command}", flush=True)
        run(command)
    print(f"\nDone in {time.perf_counter() - start:.0f} s. Look at:")
    for picture in sorted(p for p in (HOME / OUT).iterdir() if p.suffix in (".png", ".html")):
        print(f"  {picture.relative_to(HOME)}")
    print(f"\nTo search by hand, in a browser: {Path(sys.executable).parent / 'diml'} serve {OUT}/emoji.diml")
    print("and open http://127.0.0.1:8000")


if __name__ == "__main__":
    main()
