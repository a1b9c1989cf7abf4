"""Draw the pictures of the service's page in the documentation, in Chromium, from the images in sample/.

    python docs/service_pictures.py

Writes docs/service-page.png (hits of a drawing), docs/service-hit.png (the account of one of them) and
docs/service-phone.png (a part of the drawing that lights up in the hits, on a narrow dark screen).
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import PIL.Image

import diml

DOCS = Path(__file__).resolve().parent
SAMPLE = DOCS.parent / "sample"
# Colours of a picture: enough for drawings and text.
COLOURS = 128


@contextmanager
def served(index: Path) -> Iterator[str]:
    """The address of a service of its own."""
    command = [sys.executable, "-c", "from diml.cli import main; main()", "serve", str(index), "--port", "0"]
    command.append("--originals")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.match(r"(http://\S+) serves", process.stdout.readline())
            if found is None:
                raise SystemExit("the service did not start; try: diml serve " + str(index))
            while not is_ready(found[1]):
                time.sleep(0.1)
            yield found[1] + "/"
        finally:
            process.terminate()


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(address + "/health"):
            return True
    except urllib.error.URLError:
        return False


def keep(page: Any, name: str) -> None:
    """A picture of what the window shows, with few colours."""
    picture = PIL.Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.quantize(COLOURS, dither=PIL.Image.Dither.NONE).save(DOCS / name, optimize=True)
    print(f"{DOCS.name}/{name}")


def opened(browser: Any, address: str, **settings: Any) -> Any:
    page = browser.new_page(**settings)
    page.goto(address)
    page.locator("#query .cell").first.wait_for()
    page.wait_for_load_state("networkidle")
    return page


def draw(browser: Any, address: str, cat: str, hit: str) -> None:
    view = f"{address}#id={cat}"
    page = opened(browser, view, viewport={"width": 1280, "height": 900})
    page.locator("#hits .right").first.click()
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(2, 2)
    keep(page, "service-page.png")
    page = opened(browser, f"{view}&hit={hit}", viewport={"width": 1000, "height": 1240})
    page.locator("#hit .sums").wait_for()
    page.wait_for_load_state("networkidle")
    keep(page, "service-hit.png")
    phone = {"viewport": {"width": 390, "height": 960}, "has_touch": True, "is_mobile": True, "color_scheme": "dark"}
    page = opened(browser, view, **phone)
    page.locator("#query .cell").nth(7).tap()
    page.evaluate("scrollTo(0, document.getElementById('query').getBoundingClientRect().top + scrollY - 8)")
    keep(page, "service-phone.png")


def main() -> None:
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        index = diml.Index.create(Path(folder) / "emoji.diml", "lite0")
        index.add(SAMPLE / "emoji", labels_from="folder")
        ids = [index.entry(path).id for path in ("1f408-cat/noto.png", "1f408-cat/twemoji.png")]
        with served(index.path) as address:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            draw(browser, address, *ids)
            browser.close()


if __name__ == "__main__":
    main()
