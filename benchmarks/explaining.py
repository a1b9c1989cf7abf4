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

from diml.explanation import Agreement, Contrast, NamedImage, PairExplanation, PartSums
from diml.explanation.html import pair_page
from diml.model import StructuralModel

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


def written(explanation: PairExplanation | Contrast | Agreement) -> None:
    """As `diml explain --out why.png` does it."""
    with tempfile.TemporaryDirectory() as folder:
        explanation.draw(Path(folder) / "why.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    model = StructuralModel.from_pretrained("lite0").with_weights(None).with_matcher(transport="full", weight=0.5)
    drawings = sorted(SAMPLE.glob("emoji/*/noto.png"))[:19]
    everything = model.encode([*sorted(SAMPLE.glob("photos/*.jpg")), *drawings])
    maps = model.encode([CAT, VIEW, OTHER])
    a, b, c = (maps[i] for i in range(3))
    cat, view, other = (NamedImage.of(path, "") for path in (CAT, VIEW, OTHER))
    match, second = model.explain(a, b), model.explain(a, c)
    pair, contrast = PairExplanation(match, cat, view), Contrast(match, second, cat, view, other)
    agreement = Agreement(PartSums.of([match, second]), cat, [view, other])
    rows: list[tuple[str, Callable[[], object], str]] = [
        ("embedding two photographs", lambda: model.encode([CAT, VIEW]), ""),
        ("numbers of two images, these", lambda: PairExplanation(model.explain(a, b)).to_dict(), ""),
        (
            "numbers of this rather than that",
            lambda: Contrast(model.explain(a, b), model.explain(a, c)).to_dict(),
            "",
        ),
        ("picture of two images, PNG", lambda: written(pair), "at most 1 s"),
        ("picture of this rather than that, PNG", lambda: written(contrast), "at most 1 s"),
        ("picture of an agreement, PNG", lambda: written(agreement), "at most 1 s"),
        ("page of two images, HTML", lambda: pair_page(pair), "at most 1 s"),
    ]
    print("| what | median | aim |\n|---|---|---|")
    times = [
        median(lambda i=i, j=j: PairExplanation(model.explain(everything[i], everything[j])).to_dict(), 1)
        for i in range(len(everything))
        for j in range(i)
    ]
    print(f"| numbers of two images, {len(times)} pairs | {1000 * statistics.median(times):.3g} ms | at most 20 ms |")
    for what, work, aim in rows:
        print(f"| {what} | {1000 * median(work, runs):.3g} ms | {aim} |", flush=True)


if __name__ == "__main__":
    main()
