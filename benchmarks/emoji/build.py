"""Build the emoji-across-designers benchmark: the same emoji, drawn by four designers; find the other three.

    python benchmarks/emoji/build.py [--into benchmarks/emoji/data] [--size 224] [--latest]

This needs npm (to fetch the four packages) and resvg-py (to render them). It writes `images/CLASS/DESIGNER.png`,
`data.csv` (path,label,split,designer) and `SOURCES.json` (versions, checksums, licences). Classes are the sequences of
codepoints without skin tones that all four designers have drawn. Half of them, chosen by a hash, are for training, the
others for testing. `masks/CLASS/DESIGNER.png` says how opaque each pixel of the drawing is.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

TESTED = {"noto": "1.2.9", "twemoji": "1.2.5", "openmoji": "1.2.29", "fluent-emoji-flat": "1.2.6"}
"""Designers, and the versions of their packages that the published numbers were measured with."""

_SKIN_TONE = re.compile("1f3f[b-f]")
_INVISIBLE = {"fe0f", "200d"}
_LARGEST_JSON = 200_000_000


class BuildError(Exception):
    """Something is missing or wrong that the user can install or correct."""


@dataclass(frozen=True)
class Source:
    """The package of one designer's emoji."""

    package: str
    version: str
    integrity: str
    author: str
    license: str
    url: str


@dataclass(frozen=True)
class EmojiSet:
    """One designer's emoji: icon names by class key, and the icons as Iconify JSON."""

    designer: str
    source: Source
    names: dict[str, str]
    icons: dict[str, Any]

    def svg(self, key: str, size: int) -> str:
        """The emoji as an SVG of size x size pixels, centred if it is not square."""
        name = self.names[key]
        while name not in self.icons["icons"]:
            alias = self.icons["aliases"][name]
            if alias.keys() - {"parent", "hidden"}:
                raise BuildError(
                    f"{self.source.package}: the icon {name} is a transformed copy, which is not supported"
                )
            name = alias["parent"]
        icon = {"left": 0, "top": 0, "width": 16, "height": 16, **_frame(self.icons), **self.icons["icons"][name]}
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{size}" height="{size}" viewBox="{icon["left"]} {icon["top"]} {icon["width"]} {icon["height"]}">'
            f"{icon['body']}</svg>"
        )


def fetch(latest: bool = False) -> list[EmojiSet]:
    """Fetch the four designers' emoji by `npm pack` into a temporary folder, without unpacking or running anything."""
    if shutil.which("npm") is None:
        raise BuildError(
            "npm, which fetches the emoji, is not installed; install Node.js (Debian: apt-get install npm)"
        )
    with tempfile.TemporaryDirectory() as folder:
        return [
            _open(designer, pack(f"@iconify-json/{designer}@{'latest' if latest else version}", Path(folder)))
            for designer, version in TESTED.items()
        ]


def class_key(codepoints: str) -> str:
    """The codepoints in lower-case hex joined by "-", without the invisible joiner and the variation selector.

    >>> class_key("1F468-200D-2708-FE0F")
    '1f468-2708'
    """
    return "-".join(part for part in codepoints.lower().split("-") if part not in _INVISIBLE)


def split_of(key: str) -> str:
    """Train if the first byte of the key's SHA-1 is even, otherwise test.

    >>> split_of("1f408"), split_of("1f431")
    ('train', 'test')
    """
    return "test" if hashlib.sha1(key.encode()).digest()[0] % 2 else "train"


def common_keys(sets: list[EmojiSet]) -> list[str]:
    """The sorted keys, without skin tones, that every designer has drawn."""
    drawn_by_all = set.intersection(*(set(emoji.names) for emoji in sets))
    return sorted(key for key in drawn_by_all if not _SKIN_TONE.search(key))


def class_name(sets: list[EmojiSet], key: str) -> str:
    """A readable name, unique by its key, such as 1f408-cat."""
    return f"{key}-{sets[0].names[key]}"


def mask_path(path: str) -> str:
    """Where the mask of an image is, both relative to the folder of `data.csv`.

    >>> mask_path("images/1f408-cat/noto.png")
    'masks/1f408-cat/noto.png'
    """
    return f"masks/{path.removeprefix('images/')}"


def render(svg: str, size: int) -> Image.Image:
    """An SVG on white, RGB, size x size."""
    try:
        import resvg_py
    except ImportError:
        raise BuildError("resvg-py, which renders the emoji, is not installed; pip install resvg-py") from None
    png = resvg_py.svg_to_bytes(svg_string=svg, background="#ffffff", skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGB")
    if image.size != (size, size):
        raise BuildError(f"expected {size} x {size} pixels from resvg-py, got {image.size[0]} x {image.size[1]}")
    return image


def render_mask(svg: str) -> Image.Image:
    """The opacity of an SVG, 0 where nothing is drawn, as a grey image."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA").getchannel("A")


def write_sources(sets: list[EmojiSet], file: Path) -> None:
    """Packages, versions, checksums and licences, by designer."""
    file.write_text(json.dumps({emoji.designer: asdict(emoji.source) for emoji in sets}, indent=2) + "\n", "utf-8")


def build(into: Path, size: int, latest: bool = False) -> None:
    """Fetch, render and list everything; `data.csv` is written last, so that it exists only if everything does."""
    start = time.monotonic()
    sets = fetch(latest)
    print("fetched " + ", ".join(f"{emoji.designer} {emoji.source.version}" for emoji in sets), flush=True)
    keys = common_keys(sets)
    render(sets[0].svg(keys[0], size), size)  # raises here, before an older build is changed
    into.mkdir(parents=True, exist_ok=True)
    (into / "data.csv").unlink(missing_ok=True)
    drawn = [(key, emoji) for key in keys for emoji in sets]
    rows = [_row(sets, emoji, key) for key, emoji in drawn]
    jobs = [
        (emoji.svg(key, size), size, into / row["path"], into / mask_path(row["path"]))
        for row, (key, emoji) in zip(rows, drawn, strict=True)
    ]
    _render_all(jobs)
    write_sources(sets, into / "SOURCES.json")
    _write_table(rows, into / "data.csv")
    tests = sum(split_of(key) == "test" for key in keys)
    print(
        f"{len(keys):,} classes x {len(sets)} designers = {len(rows):,} images of {size} x {size} pixels; "
        f"{len(keys) - tests:,} classes ({(len(keys) - tests) * len(sets):,} images) to train, "
        f"{tests:,} ({tests * len(sets):,}) to test; {time.monotonic() - start:.0f} s\n"
        f"wrote {into / 'data.csv'}"
    )


def pack(package: str, folder: Path) -> tuple[Path, str, str]:
    """The archive of a package, fetched by `npm pack` into a folder, its version and checksum."""
    command = ["npm", "pack", "--json", "--silent", "--ignore-scripts", f"--pack-destination={folder}", package]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
        packed = json.loads(done.stdout)[0]
        return folder / packed["filename"], packed["version"], packed["integrity"]
    except subprocess.TimeoutExpired:
        raise BuildError(f"npm pack {package} took more than 5 minutes; check the network") from None
    except subprocess.CalledProcessError as error:
        detail = " ".join((error.stderr or error.stdout).split())[:300]
        raise BuildError(f"npm pack {package} failed ({detail or 'without a message'}); check the network") from None
    except (ValueError, LookupError, TypeError):
        raise BuildError(
            f"expected JSON with filename and version from npm pack {package}, got something else"
        ) from None


def _open(designer: str, packed: tuple[Path, str, str]) -> EmojiSet:
    archive, version, integrity = packed
    read = dict(_json_members(archive))
    missing = {"chars.json", "icons.json", "info.json"} - read.keys()
    if missing:
        raise BuildError(f"{archive.name}: does not contain {', '.join(sorted(missing))}; expected an Iconify icon set")
    info = read["info.json"]
    source = Source(
        f"@iconify-json/{designer}",
        version,
        integrity,
        info["author"]["name"],
        info["license"]["spdx"],
        info["author"]["url"],
    )
    return EmojiSet(designer, source, {class_key(k): v for k, v in read["chars.json"].items()}, read["icons.json"])


def _json_members(archive: Path) -> Iterator[tuple[str, Any]]:
    """The three files needed, read in memory, so that no path of the archive is written to."""
    with tarfile.open(archive) as tar:
        for name in ("chars.json", "icons.json", "info.json"):
            try:
                member = tar.getmember(f"package/{name}")
            except KeyError:
                continue
            file = tar.extractfile(member) if member.isreg() and member.size < _LARGEST_JSON else None
            if file is not None:
                yield name, json.load(file)


def _frame(icons: dict[str, Any]) -> dict[str, Any]:
    return {name: icons[name] for name in ("left", "top", "width", "height") if name in icons}


def _row(sets: list[EmojiSet], emoji: EmojiSet, key: str) -> dict[str, str]:
    label = class_name(sets, key)
    path = f"images/{label}/{emoji.designer}.png"
    return {"path": path, "label": label, "split": split_of(key), "designer": emoji.designer}


def _render_all(jobs: list[tuple[str, int, Path, Path]]) -> None:
    # Processes, because resvg-py holds the global interpreter lock while it renders.
    with ProcessPoolExecutor() as pool:
        for done, _ in enumerate(pool.map(_render_to_file, jobs, chunksize=32), start=1):
            if done % 1000 == 0:
                print(f"  {done:,} of {len(jobs):,} rendered", flush=True)


def _render_to_file(job: tuple[str, int, Path, Path]) -> None:
    svg, size, image_file, mask_file = job
    for file, picture in ((image_file, render(svg, size)), (mask_file, render_mask(svg))):
        file.parent.mkdir(parents=True, exist_ok=True)
        picture.save(file, compress_level=3)


def _write_table(rows: list[dict[str, str]], file: Path) -> None:
    with open(file, "w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, ["path", "label", "split", "designer"], lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    here = Path(__file__).resolve().parent
    parser.add_argument("--into", type=Path, default=here / "data", help="folder to write (default: data beside this)")
    parser.add_argument("--size", type=int, default=224, help="width and height in pixels (default: 224)")
    parser.add_argument("--latest", action="store_true", help="the newest packages instead of the tested versions")
    options = parser.parse_args()
    if not 1 <= options.size <= 4096:
        parser.error(f"expected --size from 1 to 4096 pixels, got {options.size}")
    try:
        build(options.into, options.size, options.latest)
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
