"""How soon the page of the service shows hits on a large index, in Chromium, after an image was chosen.

    python -m benchmarks.service_page [--images 100000] [--runs 9] [--folder /tmp/diml-service-page]

Makes an index of sample/emoji, appends copies of its rows with perturbed features until it has so many images, starts
`diml serve` on it, and chooses images of 224 x 224 pixels in the page. Prints a Markdown table of medians. The index is
kept in the folder (about 4.7 GB for 100,000 images) and used again. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa

import diml
from benchmarks.service_process import Served
from diml.search.manifest import Manifest
from diml.search.store import Store

SAMPLE = Path(__file__).resolve().parents[1] / "sample"
# Rows that are appended at once: about 120 MB.
CHUNK = 2400
SIDE = 224
# Milliseconds from the choice of a file to the frame that shows the first hit, and to its picture.
WATCH = """
addEventListener("change", (event) => {
  if (event.target.id !== "file") return;
  const begun = performance.now();
  window.shown = null;
  window.pictured = null;
  const list = document.getElementById("hits");
  list.replaceChildren();
  const watcher = new MutationObserver(() => {
    if (!list.children.length || window.shown !== null) return;
    watcher.disconnect();
    window.shown = -1;
    requestAnimationFrame(() => setTimeout(() => { window.shown = performance.now() - begun; }));
    list.querySelector("image").addEventListener("load", () => { window.pictured = performance.now() - begun; });
  });
  watcher.observe(list, { childList: true });
}, true);
"""


def large_index(folder: Path, images: int) -> Path:
    """An index of so many images, made if it is not there."""
    path = folder / f"emoji-{images}.diml"
    if path.exists() and len(diml.Index.open(path)) == images:
        return path
    shutil.rmtree(path, ignore_errors=True)
    index = diml.Index.create(path, "lite0")
    index.add(SAMPLE / "emoji", labels_from="folder")
    store = Store.open(path, Manifest.read(path).table_version)
    rows = store.scan(store.schema.names).cast(store.schema)
    random = np.random.default_rng(0)
    while (stored := store.count()) < images:
        store.put(perturbed(rows, stored, min(CHUNK, images - stored), random), replacing=False)
    return path


def perturbed(rows: pa.Table, start: int, count: int, random: np.random.Generator) -> pa.Table:
    """Copies of rows under new names, each number of their features multiplied by 1 with a deviation of 0.2."""
    taken = rows.take(pa.array([(start + i) % len(rows) for i in range(count)]))
    numbers = range(start, start + count)
    replaced = {
        "id": pa.array([f"{number:016x}" for number in numbers]),
        "path": pa.array(
            [
                f"copies/{number:06d}-{Path(p).name}"
                for number, p in zip(numbers, taken["path"].to_pylist(), strict=True)
            ]
        ),
        **{name: noisy(taken[name].combine_chunks(), random) for name in ("map", "pooled")},
    }
    for name, values in replaced.items():
        taken = taken.set_column(taken.schema.get_field_index(name), taken.schema.field(name), values)
    return taken


def noisy(column: pa.FixedSizeListArray, random: np.random.Generator) -> pa.Array:
    flat = column.flatten().to_numpy(zero_copy_only=False)
    noise = random.standard_normal(len(flat), dtype=np.float32) * np.float32(0.2) + np.float32(1)
    return pa.FixedSizeListArray.from_arrays(pa.array((flat * noise).astype(flat.dtype)), column.type.list_size)


def queries(folder: Path, count: int) -> list[Path]:
    """Different crops of photographs, of 224 x 224 pixels."""
    photo = PIL.Image.open(SAMPLE / "photos" / "chelsea.jpg").convert("RGB")
    paths = []
    for k in range(count):
        side = min(photo.size) - 10 * k
        paths.append(folder / f"query-{k}.jpg")
        photo.crop((4 * k, 2 * k, 4 * k + side, 2 * k + side)).resize((SIDE, SIDE)).save(paths[-1], quality=90)
    return paths


def measure(address: str, images: list[Path]) -> list[tuple[float, float]]:
    """For each image, seconds until the first hit was painted, and until its picture was there."""
    from playwright.sync_api import sync_playwright

    browser_path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    times = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(WATCH)
        page.goto(address)
        page.locator("#browse img").first.wait_for()
        for image in images:
            page.set_input_files("#file", image)
            while (page.evaluate("window.pictured") or -1) < 0 or page.evaluate("window.shown") < 0:
                page.wait_for_timeout(20)
            times.append((page.evaluate("window.shown") / 1000, page.evaluate("window.pictured") / 1000))
            page.wait_for_timeout(500)
        browser.close()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/diml-service-page"))
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    path = large_index(given.folder, given.images)
    load = os.getloadavg()[0]
    with Served(path, given.folder / "service.log") as service:
        # The first two do not count: they compile and read what is kept in memory afterwards.
        times = measure(f"http://127.0.0.1:{service.port}/", queries(given.folder, given.runs + 2))[2:]
    shown, pictured = (sorted(column) for column in zip(*times, strict=True))
    print(f"{given.images:,} images, {os.cpu_count()} cores, load {load:.1f} before the start, {given.runs} runs\n")
    print("| from choosing an image to | median | slowest | aim |\n|---|---|---|---|")
    print(f"| the first hit on screen | {statistics.median(shown):.2f} s | {shown[-1]:.2f} s | under 1 s |")
    print(f"| its picture | {statistics.median(pictured):.2f} s | {pictured[-1]:.2f} s | |")


if __name__ == "__main__":
    main()
