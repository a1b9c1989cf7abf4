"""Index a folder, search it, and draw why the hits are hits.

    python examples/search_with_pictures.py [FOLDER]

Writes the index, a picture (hits.png) and a page (hits.html) to FOLDER, by default a temporary one.
"""

import sys
import tempfile
from pathlib import Path

import diml
from diml.explanation import draw_hits

SAMPLE = Path(__file__).parents[1] / "sample" / "photos"


def main(folder: Path) -> None:
    index = diml.Index.create(folder / "photos.diml", "lite0")
    print(index.add(SAMPLE))

    result = index.search(SAMPLE / "chelsea.jpg", k=3)
    for hit in result:
        strongest = hit.match.parts(1)[0]
        print(f"{hit.similarity:.3f}  {hit.path}: {strongest.a_box} matches {strongest.b_box}")

    for name in ("hits.png", "hits.html"):
        draw_hits(result, folder / name)
    print(f"pictures are in {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
