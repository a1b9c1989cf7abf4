"""Several indices that are searched as one: opened, and checked to be alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from diml.errors import StoreError, UsageError
from diml.matching import Matcher
from diml.model import StructuralModel
from diml.model.config import read_config
from diml.model.storage import CONFIG
from diml.search.index_state import IndexState
from diml.search.manifest import MODEL, Manifest
from diml.search.places import Place
from diml.search.read_state import Opened
from diml.search.shards import Shards, listed
from diml.search.stored_rows import StoredRows

# Number of images up to which it is checked on opening that none is in two of the indices.
CHECKED = 1_000_000


class ShardedState:
    """The folders of several indices with one model, and what this process knows of them. Threads may share it.

    Attributes:
        states: of the indices, in the order in which they were named.
        opened: what they are made of as one: the rows of all, and the settings that they share. The limit of exact
            search is the smallest, and the collection that of all, if they have one.
    """

    def __init__(self, states: Sequence[IndexState]) -> None:
        self.states = tuple(states)
        parts = [state.require() for state in states]
        manifests = [manifest for manifest, _ in parts]
        collections = {manifest.collection for manifest in manifests}
        manifest = replace(
            manifests[0],
            exact_limit=min(each.exact_limit for each in manifests),
            collection=collections.pop() if len(collections) == 1 else "",
            backends=tuple(sorted({backend for each in manifests for backend in each.backends})),
            thumbnails=any(each.thumbnails for each in manifests),
            table_version=0,
        )
        names = shard_names([state.path for state in states])
        one_codec = len({each.codes_digest for each in manifests}) == 1
        self.shards = dict(zip(names, (state.path for state in states), strict=True))
        self.rows = Shards([store for _, store in parts], names, one_codec)
        self.opened: Opened[StoredRows] = Opened(manifest, self.rows)

    @classmethod
    def open(
        cls, paths: Sequence[Place], model: StructuralModel | None = None, backbone: nn.Module | None = None
    ) -> ShardedState:
        """See `Index.open`."""
        _check_different(paths)
        states = [IndexState.open(paths[0], model, backbone), *(IndexState.open(path) for path in paths[1:])]
        for state in states[1:]:
            _check_alike(states[0], state)
        opened = cls(states)
        if opened.count() <= CHECKED:
            opened.rows.check_distinct()
        return opened

    @property
    def name(self) -> str:
        """The folders, as messages and results call them."""
        return listed([state.name for state in self.states])

    @property
    def path(self) -> Place:
        """None: it is several.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.name} are several indices and have no one path; see the shards of the index")

    @property
    def folders(self) -> list[Place]:
        """Of the indices."""
        return [state.path for state in self.states]

    @property
    def model(self) -> StructuralModel:
        """The model of the first, loaded on first use; the others have the same."""
        return self.states[0].model

    def snapshot(self) -> tuple[Opened[StoredRows], StructuralModel]:
        """The rows, and the model that they were made with."""
        return self.opened, self.model

    def require(self) -> Opened[StoredRows]:
        """The rows, and the settings that the indices share."""
        return self.opened

    def count(self) -> int:
        """Images that are stored now, by any process."""
        return self.opened.store.count()

    def check_still_there(self) -> None:
        """Check that each folder still holds the index that was opened.

        Raises:
            StoreError: one of them does not.
        """
        for state in self.states:
            state.check_still_there()

    def for_writing(self) -> IndexState:
        """None: what is added belongs to one of the indices.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"{self.name} are open as one index, which is only read; open the one to change by itself")

    def of_image(self, id: str) -> IndexState | None:
        """The index that an image is in; None if it is in none of them."""
        holding = (state for state in self.states if state.require().store.ids_among([id]))
        return next(holding, None)


def shard_names(places: Sequence[Place]) -> list[str]:
    """Short names of folders: what their paths do not have in common, without the ending of the last part.

    >>> shard_names([Path("/data/a.diml"), Path("/data/b.diml")])
    ['a', 'b']
    >>> shard_names([Path("/one/photos.diml"), Path("/two/photos.diml")])
    ['one/photos', 'two/photos']
    >>> shard_names([Path("/data/photos"), Path("/data/photos.diml")])
    ['photos', 'photos.diml']
    >>> from diml.search.places import index_place
    >>> shard_names([index_place(f"s3://bucket/{name}.diml") for name in "ab"])
    ['a', 'b']
    """
    # An address is shortened as the path that its parts would be.
    paths = [path if isinstance(path, Path) else path.as_path() for path in places]
    common = os.path.commonpath([path.parent for path in paths])
    whole = [path.relative_to(common).as_posix() for path in paths]
    short = [name.removesuffix(".diml") for name in whole]
    return short if len({*short}) == len(short) else whole


@dataclass(frozen=True)
class _Trait:
    """Something that indices must have in common.

    Attributes:
        name: in words.
        of: the value, of an index.
        remedy: what to do about two values.
    """

    name: str
    of: Callable[[Place, Manifest], Any]
    remedy: str


_SAME_MODEL = "make both with one model: diml index FOLDER --into {b} --model {a}"
_TRAITS = (
    _Trait("model", lambda folder, manifest: f"{manifest.model} ({manifest.fingerprint[:8]})", _SAME_MODEL),
    _Trait("fingerprint", lambda folder, manifest: manifest.fingerprint, _SAME_MODEL),
    _Trait("grid", lambda folder, manifest: "x".join(map(str, manifest.grid)), "make both with one grid"),
    _Trait("dim", lambda folder, manifest: manifest.dim, "make both with one dim"),
    _Trait(
        "pooled vectors",
        lambda folder, manifest: "of their own" if manifest.own_pooled else "means of the parts",
        "compute both alike",
    ),
    _Trait("weights of parts", lambda folder, manifest: manifest.weights, "make both with the same weights"),
    _Trait(
        "codes",
        lambda folder, manifest: manifest.codes,
        "copy one of them with the codes of the other: diml index INDEX --into COPY --recode CODES",
    ),
    _Trait(
        "sketches",
        lambda folder, manifest: "yes" if manifest.sketches else "no",
        "copy one of them with or without: diml index INDEX --into COPY --recode float16 --sketches",
    ),
    _Trait(
        "columns",
        lambda folder, manifest: ", ".join(sorted(manifest.columns)) or "none",
        "make both with the same columns",
    ),
)


def _check_alike(first: IndexState, other: IndexState) -> None:
    """Refuse two indices whose rows cannot be compared by one model, or cannot be in one table.

    Raises:
        StoreError: with the first trait in which they differ.
    """
    (a, _), (b, _) = first.require(), other.require()
    for trait in (*_TRAITS, *_matching_traits()):
        of_a, of_b = trait.of(first.path, a), trait.of(other.path, b)
        if of_a != of_b:
            remedy = trait.remedy.format(a=first.path, b=other.path)
            raise StoreError(
                f"{first.path} and {other.path} cannot be opened as one index: their {trait.name} differ, {of_a} and "
                f"{of_b}; {remedy}"
            )


def _matching_traits() -> list[_Trait]:
    """The settings of the models' matchers; what older versions do not write has a default."""

    def of(name: str) -> Callable[[Place, Manifest], Any]:
        return lambda folder, _: getattr(Matcher(**read_config(folder / MODEL / CONFIG)["matching"]), name)

    return [_Trait(f"settings {name} of the matcher", of(name), _SAME_MODEL) for name in Matcher.__dataclass_fields__]


def _check_different(paths: Sequence[Place]) -> None:
    seen: dict[str, Place] = {}
    for path in paths:
        real = os.path.realpath(path) if isinstance(path, Path) else str(path)
        if real in seen:
            raise UsageError(f"{path} is listed twice; name each index once")
        seen[real] = path
