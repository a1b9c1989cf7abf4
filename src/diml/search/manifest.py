"""The manifest: what an index is made of. It is written last, so a folder without one is not a complete index."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from diml.errors import StoreError
from diml.files import write_atomic
from diml.search.claims import is_claim
from diml.search.codes import FILE as CODES
from diml.search.codes import FLOAT16
from diml.search.places import Place, file_size, names_in

FORMAT = "diml-index"
# Version 2 has weights of parts, version 3 codes in place of maps, sketches, or no thumbnails. An index is written as
# the least version that has what it needs, so that older versions of diml can read it.
VERSION = 3
FILE = "manifest.json"
MODEL = "model"
LOCK = "writer.lock"
TURN = "adding.lock"
TABLE = "images"
# Everything that an interrupted creation can leave in the folder; anything else belongs to the user.
PARTS = frozenset({FILE, MODEL, LOCK, TURN, CODES, TABLE + ".lance"})
# A manifest that was being written when the process was killed.
UNFINISHED = FILE + "*.part"


@dataclass(frozen=True)
class Manifest:
    """What is recorded about an index, beside its table.

    Attributes:
        model: name of the model.
        fingerprint: of the model that the index carries and its rows were embedded with.
        made_from: fingerprint of the model as it was given; the same as `fingerprint` if no head was fitted.
        grid, dim: of the stored maps.
        asked_dim: the dim that was asked for at creation; a small collection keeps the backbone's own channels.
        head: in words, what the head was fitted on.
        own_pooled: whether the model has a pooled vector that is not the mean of its parts.
        columns: further columns, all text; fixed at creation.
        exact_limit: number of images up to which the coarse search is exact.
        collection: folder of the collection it was made for; empty for features that were added without image files.
        model_files: size of each file of the model, to detect an index that was copied in part.
        table_version: the table has at least this version, for the same purpose.
        embeds: whether the model embeds images; False for an index that was made without a model, for features
            computed elsewhere. Older manifests do not have it.
        backends: what has embedded its images, such as torch and openvino, whose maps agree; empty where that is not
            known, in older manifests.
        weights: name of the weights of parts, "given" for features computed elsewhere; "uniform" where the table has
            none. Only written if there are weights.
        codes: name of the codes of the maps, see `diml.search.codes.parse_codes`.
        codes_digest: SHA-256 of the file of their centroids; empty where they have none.
        codes_fitted_on: in words, what the centroids were fitted on.
        thumbnails: whether a small picture of each image is stored.
        sketches: whether a sketch of each map is stored. These two and what concerns codes are only written where one
            differs from float16 maps with thumbnails and without sketches.
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
    embeds: bool = True
    weights: str = "uniform"
    backends: tuple[str, ...] = ()
    codes: str = FLOAT16
    codes_digest: str = ""
    codes_fitted_on: str = ""
    thumbnails: bool = True
    sketches: bool = False

    @property
    def weighted(self) -> bool:
        """Whether the parts of the maps have weights."""
        return self.weights != "uniform"

    @property
    def version(self) -> int:
        """Of the format that this index needs."""
        if self.codes != FLOAT16 or self.sketches or not self.thumbnails:
            return 3
        return 2 if self.weighted else 1

    def document(self) -> bytes:
        """As it is stored."""
        values = asdict(self)
        if not self.weighted:
            del values["weights"]
        if not self.backends:
            del values["backends"]
        if self.version < 3:
            for name in ("codes", "codes_digest", "codes_fitted_on", "thumbnails", "sketches"):
                del values[name]
        return json.dumps({"format": FORMAT, "version": self.version, **values}, indent=1).encode()

    def write(self, folder: Path) -> None:
        """Write it atomically: a reader sees the former manifest or this one."""
        write_atomic(folder / FILE, self.document(), durable=True)

    def at_version(self, table_version: int) -> Manifest:
        return replace(self, table_version=table_version)

    def embedded_by(self, backends: Iterable[str]) -> Manifest:
        return replace(self, backends=tuple(sorted({*self.backends, *backends})))

    @staticmethod
    def read(folder: Place) -> Manifest:
        """Read and check it.

        Raises:
            StoreError: there is no index, or it is unfinished, of a newer format, or was copied in part.
        """
        _check_presence(folder)
        manifest = Manifest.parse(folder, _content(folder))
        _check_model_files(folder, manifest.model_files)
        return manifest

    @staticmethod
    def parse(folder: Place, content: bytes) -> Manifest:
        """The manifest of an index, from what its file holds.

        Raises:
            StoreError: it is damaged, or of a newer format.
        """
        return _parse(folder, content)


def is_index(folder: Place) -> bool:
    """Whether the folder is a complete index."""
    if isinstance(folder, Path):
        return (folder / FILE).is_file()
    found = (folder / FILE).read()
    return found is not None and not is_claim(found[0])


def check_free(folder: Place) -> None:
    """Refuse to make an index in a folder that holds anything other than an interrupted creation."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file; an index is a folder: give another name")
    other = next((name for name in names_in(folder) if name not in PARTS and not fnmatch(name, UNFINISHED)), None)
    if other is not None:
        raise StoreError(
            f"{folder} holds {other!r} and is not an index; give a folder that does not exist yet, say NAME.diml"
        )


def _content(folder: Place) -> bytes:
    try:
        return (folder / FILE).read_bytes()
    except OSError as error:
        raise _damaged(folder) from error


def _damaged(folder: Place) -> StoreError:
    return StoreError(
        f"{folder / FILE} cannot be read as the manifest of an index; copy the index again, or make it again"
    )


def _check_presence(folder: Place) -> None:
    if not folder.exists():
        raise StoreError(f"{folder} does not exist; make an index with: diml index FOLDER --into {folder}")
    if not folder.is_dir():
        raise StoreError(f"{folder} is a file; expected an index, which is a folder made by `diml index`")
    if is_index(folder):
        return
    # On an object store a manifest that is none is the claim of whoever is making the index.
    parts = (LOCK, MODEL, TABLE + ".lance", *(() if isinstance(folder, Path) else (FILE,)))
    if any((folder / part).exists() for part in parts):
        raise StoreError(
            f"{folder} has no {FILE}: its creation or its copying was interrupted; run the same `diml index` command "
            "again to finish it, or copy it again"
        )
    raise StoreError(f"{folder} is not an index: it has no {FILE}; give a folder made by `diml index`")


def _parse(folder: Place, content: bytes) -> Manifest:
    damaged = _damaged(folder)
    try:
        values: dict[str, Any] = json.loads(content.decode())
        if values.pop("format") != FORMAT:
            raise StoreError(f"{folder} is not an index of images: its {FILE} belongs to another program")
        version = int(values.pop("version"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged from error
    if version > VERSION:
        raise StoreError(f"{folder} has format {version}, and this diml reads up to {VERSION}; upgrade diml to open it")
    try:
        values["grid"], values["columns"] = tuple(values["grid"]), tuple(values["columns"])
        values["backends"] = tuple(values.get("backends", ()))
        # What older versions do not write has a default.
        return Manifest(**{field.name: values[field.name] for field in fields(Manifest) if field.name in values})
    except (KeyError, TypeError) as error:
        raise damaged from error


def _check_model_files(folder: Place, expected: dict[str, int]) -> None:
    for name, size in expected.items():
        file = folder / MODEL / name
        found = file_size(file)
        if found != size:
            what = "is missing" if found is None else f"has {found} bytes instead of {size}"
            raise StoreError(f"{folder} was copied in part: {file} {what}; copy the index again")
