"""The 3-D models of Debian's sweethome3d-furniture: catalogues are zip files of OBJ models with a properties file."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from dataclasses import dataclass

from benchmarks.errors import BuildError

PACKAGE = "sweethome3d-furniture"
FOLDER = "usr/share/sweethome3d/furniture/"
LICENSES = {
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}
"""Catalogues and their licences, as the copyright file of the package states them."""

_PROPERTIES = "PluginFurnitureCatalog.properties"
_LARGEST_MODEL = 200_000_000
_ENTRY = re.compile(r"^(name|model|modelRotation|creator)#(\d+)\s*=\s*(.*?)\s*$")


@dataclass(frozen=True)
class Model:
    """A model of a catalogue.

    Attributes:
        label: its class, unique and safe as the name of a file.
        name: what it is called in the catalogue.
        catalogue: the name of the catalogue's file.
        creator: who made it.
        license: an SPDX identifier.
        file: the OBJ file inside the catalogue.
        rotation: nine numbers, row by row, that stand the model upright; None if it stands.
    """

    label: str
    name: str
    catalogue: str
    creator: str
    license: str
    file: str
    rotation: tuple[float, ...] | None = None


def read_models(catalogue: str, archive: bytes) -> list[Model]:
    """The models of a catalogue, in its order.

    Raises:
        BuildError: it is not such a catalogue.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            text = opened.read(_PROPERTIES).decode("latin-1")
    except (zipfile.BadZipFile, KeyError) as error:
        raise BuildError(f"{catalogue}.sh3f: expected a zip with {_PROPERTIES}, got something else ({error})") from None
    entries: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        if found := _ENTRY.match(line):
            entries.setdefault(int(found[2]), {})[found[1]] = found[3]
    return [_model(catalogue, entries[number]) for number in sorted(entries) if "model" in entries[number]]


def read_files(archive: bytes, model: Model) -> dict[str, bytes]:
    """The files in the folder of a model, by name: OBJ, MTL and textures."""
    folder = posixpath.dirname(model.file)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        members = [m for m in opened.infolist() if not m.is_dir() and posixpath.dirname(m.filename) == folder]
        if sum(member.file_size for member in members) > _LARGEST_MODEL:
            raise BuildError(f"{model.label}: is larger than {_LARGEST_MODEL:,} bytes")
        return {posixpath.basename(member.filename): opened.read(member) for member in members}


def _model(catalogue: str, entry: dict[str, str]) -> Model:
    file = entry["model"].lstrip("/")
    stem = posixpath.splitext(posixpath.basename(file))[0]
    label = re.sub(r"[^a-z0-9]+", "-", f"{catalogue}-{stem}".lower()).strip("-")
    rotation = tuple(float(value) for value in entry["modelRotation"].split()) if "modelRotation" in entry else None
    creator = entry.get("creator", "")
    return Model(label, entry.get("name", stem), catalogue, creator, LICENSES[catalogue], file, rotation)
