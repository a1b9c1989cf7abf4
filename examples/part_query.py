"""A part query: which images contain something that looks like this part of an image, wherever it is?

    python examples/part_query.py

The part is a box in pixels of the image; only the cells it covers are matched.
"""

from pathlib import Path

import diml

SAMPLE = Path(__file__).parents[1] / "sample" / "emoji"


def main() -> None:
    model = diml.StructuralModel.from_pretrained("lite0")
    gallery = [SAMPLE / name / "twemoji.png" for name in ("1f408-cat", "1f415-dog", "1f404-cow", "1f680-rocket")]
    maps = model.encode(gallery)

    tail = model.query(SAMPLE / "1f408-cat" / "noto.png", regions=[(90, 35, 128, 66)])
    scores = tail.scores(maps)
    for score, path in sorted(zip(scores.tolist(), gallery, strict=True), reverse=True):
        print(f"{score:.3f}  {path.parent.name}")

    match = tail.match(maps[0])
    print(f"cells of the tail, as rows and columns of the grid: {[divmod(cell, 4) for cell in match.chosen]}")
    for pair in match.parts(3):
        print(f"  {pair.a_box} is most similar to {pair.b_box}: {pair.contribution:+.3f}")


if __name__ == "__main__":
    main()
