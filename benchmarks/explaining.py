"""What an explanation costs beyond embedding the two images: its numbers, its page, its pictures.

    python benchmarks/explaining.py [--runs 15]

Prints a Markdown table of medians, on the photographs and the drawings of sample/. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from diml.explanation import (
    Contrast,
    agreement,
    contrast_document,
    draw_agreement,
    draw_contrast,
    draw_match,
    explanation_document,
    match_page,
    save_picture,
)
from diml.model import StructuralModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
CAT = SAMPLE / "photos" / "chelsea.jpg"
VIEW = SAMPLE / "photos" / "chelsea-mirrored-cropped-brighter.jpg"
OTHER = SAMPLE / "photos" / "coffee.jpg"


def median(work: Callable[[], object], runs: int) -> float:
    """Median wall time in seconds, after one run that does not count."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def saved(figure: Figure) -> None:
    """As `diml explain --out why.png` does it."""
    with tempfile.TemporaryDirectory() as folder:
        save_picture(figure, Path(folder) / "why.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    model = StructuralModel.from_pretrained("lite0")
    drawings = sorted(SAMPLE.glob("emoji/*/noto.png"))[:19]
    everything = model.encode([*sorted(SAMPLE.glob("photos/*.jpg")), *drawings])
    maps = model.encode([CAT, VIEW, OTHER])
    a, b, c = (maps[i] for i in range(3))
    match = model.explain(a, b)
    contrast = Contrast(match, model.explain(a, c))
    found = agreement([match, model.explain(a, c)])
    rows: list[tuple[str, Callable[[], object], str]] = [
        ("embedding two photographs", lambda: model.encode([CAT, VIEW]), ""),
        ("numbers of two images, these", lambda: explanation_document(model.explain(a, b)), ""),
        (
            "numbers of this rather than that",
            lambda: contrast_document(Contrast(model.explain(a, b), model.explain(a, c))),
            "",
        ),
        ("picture of two images, PNG", lambda: saved(draw_match(match, CAT, VIEW)), "at most 1 s"),
        (
            "picture of this rather than that, PNG",
            lambda: saved(draw_contrast(contrast, CAT, VIEW, OTHER)),
            "at most 1 s",
        ),
        ("picture of an agreement, PNG", lambda: saved(draw_agreement(found, CAT, [VIEW, OTHER])), "at most 1 s"),
        ("page of two images, HTML", lambda: match_page(match, CAT, VIEW), "at most 1 s"),
    ]
    print("| what | median | aim |\n|---|---|---|")
    times = [
        median(lambda i=i, j=j: explanation_document(model.explain(everything[i], everything[j])), 1)
        for i in range(len(everything))
        for j in range(i)
    ]
    print(f"| numbers of two images, {len(times)} pairs | {1000 * statistics.median(times):.3g} ms | at most 20 ms |")
    for what, work, aim in rows:
        print(f"| {what} | {1000 * median(work, runs):.3g} ms | {aim} |", flush=True)


if __name__ == "__main__":
    main()
