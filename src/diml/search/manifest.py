"""The manifest: what an index is made of. It is the last file of its creation, so a folder without one is no index."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from diml.errors import StoreError

FORMAT = "diml-index"
VERSION = 1
FILE = "manifest.json"
MODEL = "model"
LOCK = "writer.lock"
TURN = "adding.lock"
TABLE = "images"
# All that may lie in the folder while its creation is under way; anything else is somebody's own.
PARTS = frozenset({FILE, FILE + ".part", MODEL, LOCK, TURN, TABLE + ".lance"})


@dataclass(frozen=True)
class Manifest:
    """What is written beside the table.

    Attributes:
        model: name of the model.
        fingerprint: of the model that the index carries and its rows were embedded with.
        made_from: fingerprint of the model as it came, before a head was fitted; the same where none was.
        grid, dim: of the stored maps.
        asked_dim: the dim that was asked for when it was made; a small collection keeps the backbone's own channels.
        head: in words, where the head came from.
        own_pooled: whether the model brings a pooled vector that is not the mean of its parts.
        columns: further columns, all text; fixed, as the table is.
        exact_limit: number of images up to which the coarse search is exact.
        collection: folder of the collection it was made for.
        model_files: size of each file of the model, so that a half-copied index is noticed.
        table_version: version of the table that is there at least, for the same reason.
    """

    model: str
    fingerprint: str
    made_from: str
    grid: tuple[int, int]
    dim: int
    asked_dim: int
    head: str
    own_pooled: bool
    columns: tuple[str, ...]
    exact_limit: int
    collection: str
    model_files: dict[str, int]
    table_version: int = 0

    def write(self, folder: Path) -> None:
        """Write it in one step: a reader sees the former manifest, or this one, whatever happens."""
        part = folder / (FILE + ".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, "version": VERSION, **asdict(self)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, folder / FILE)

    def at_version(self, table_version: int) -> Manifest:
        return replace(self, table_version=table_version)

    @staticmethod
    def read(folder: Path) -> Manifest:
        """Read and check it.

        Raises:
            StoreError: no index, an unfinished one, one of a newer format, or one that was copied in part.
        """
        _check_presence(folder)
        manifest = _parse(folder)
        _check_model_files(folder, manifest.model_files)
        return manifest


def is_index(folder: Path) -> bool:
    """Whether an index is there; its creation ends with the manifest."""
    return (folder / FILE).is_file()


def check_free(folder: Path) -> None:
    """Let an index be made where nothing is, or where a creation was cut off, and nowhere else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file; an index is a folder: give another name")
    strangers = sorted(set(os.listdir(folder)) - PARTS)
    if strangers:
        raise StoreError(
            f"{folder} holds {strangers[0]!r} and is not an index; give a folder that does not exist yet, say NAME.diml"
        )


def sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of every file below a folder, by its relative posix path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _check_presence(folder: Path) -> None:
    if not folder.exists():
        raise StoreError(f"{folder} does not exist; make an index with: diml index FOLDER --into {folder}")
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file and not an index; an index is a folder that `diml index` made")
    if is_index(folder):
        return
    if any((folder / part).exists() for part in (LOCK, MODEL, TABLE + ".lance")):
        raise StoreError(
            f"{folder} has no {FILE}: its creation or its copying was cut off; run the same `diml index` command again "
            "to finish it, or copy it again"
        )
    raise StoreError(f"{folder} is not an index: it has no {FILE}; give a folder that `diml index` made")


def _parse(folder: Path) -> Manifest:
    damaged = StoreError(
        f"{folder / FILE} cannot be read as an index's manifest; copy the index again, or make it anew"
    )
    try:
        values: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise StoreError(f"{folder} is not an index of images: its {FILE} belongs to something else")
        version = int(values.pop("version"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged from error
    if version > VERSION:
        raise StoreError(f"{folder} has format {version} and this diml reads up to {VERSION}; upgrade diml to open it")
    try:
        values["grid"], values["columns"] = tuple(values["grid"]), tuple(values["columns"])
        return Manifest(**{field.name: values[field.name] for field in fields(Manifest)})
    except (KeyError, TypeError) as error:
        raise damaged from error


def _check_model_files(folder: Path, expected: dict[str, int]) -> None:
    for name, size in expected.items():
        file = folder / MODEL / name
        found = file.stat().st_size if file.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise StoreError(f"{folder} was copied in part: {file} {what}; copy the index again")
