"""Images as users name them: by id, or by path relative to the collection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from diml.errors import UsageError
from diml.files import AnyPath
from diml.search.items import image_id, is_id
from diml.search.stored_rows import StoredRows


@dataclass(frozen=True)
class Named:
    """Images that were named.

    Attributes:
        ids: of those that are stored, in the order they were named.
        unknown: names of those that are not.
    """

    ids: list[str]
    unknown: list[str]

    def known(self, index: str) -> list[str]:
        """The ids, if all images are stored.

        Args:
            index: what messages call it.

        Raises:
            UsageError: one of them is not.
        """
        if self.unknown:
            raise not_stored(self.unknown[0], index)
        return self.ids


def not_stored(image: AnyPath, index: str) -> UsageError:
    return UsageError(f"{os.fspath(image)} is not in {index}; give an id, or a path relative to the collection")


def as_ids(image: AnyPath) -> list[str]:
    """The ids that an image may have: its name is one, or else the path of one.

    >>> as_ids("cats/tom.jpg"), as_ids("c20dca593997b815")
    (['c20dca593997b815'], ['c20dca593997b815', '2c1327e59f6e9573'])
    """
    name = Path(image).as_posix()
    return [*([name] if is_id(name) else []), image_id(name)]


def resolve(store: StoredRows, images: AnyPath | Sequence[AnyPath]) -> Named:
    """Look images up."""
    listed = [images] if isinstance(images, str | os.PathLike) else images
    names = [Path(image).as_posix() for image in listed]
    stored = store.ids_among({*filter(is_id, names), *map(image_id, names)})
    ids = [name if name in stored else image_id(name) for name in names]
    return Named([id for id in ids if id in stored], [n for n, id in zip(names, ids, strict=True) if id not in stored])
