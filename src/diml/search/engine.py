"""Engines: what embeds the images that an index has to store, in this process or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from diml.errors import ImageError
from diml.model import StructuralModel
from diml.search.blocks import blocks
from diml.search.items import Examined, FileState, Item, examined
from diml.search.row_form import RowForm

Leave = Callable[[Item, FileState], None]


class Embedded(Protocol):
    """Images that were embedded together, as the writer stores them: a `Block` or a `RowBlock`."""

    @property
    def items(self) -> list[Item]: ...

    @property
    def states(self) -> list[FileState]: ...

    @property
    def failures(self) -> list[tuple[Item, ImageError]]: ...

    def __len__(self) -> int: ...

    def rows(
        self, keep: Sequence[int], metas: Sequence[Mapping[str, str | None]], schema: pa.Schema, form: RowForm
    ) -> pa.Table: ...


@dataclass(frozen=True)
class Work:
    """What an engine is asked to do.

    Attributes:
        model: embeds the images; its head and its weights are fitted already.
        form: in which the maps will be stored.
        items: the images that may be new or changed.
        batch_size: images per pass of the model.
        stored_hash: the hash under which an image is stored now; empty where it is not stored.
        leave: to be called with each image whose file has this hash: it is not embedded.
        ran: to be called with the backends that embedded images, where `model.backends` does not know them.
    """

    model: StructuralModel
    form: RowForm
    items: Sequence[Item]
    batch_size: int
    stored_hash: Callable[[Item], str]
    leave: Leave
    ran: Callable[[Iterable[str]], None]


class Engine(Protocol):
    """Turns work into blocks: each image once, in any order, as embedded, as failed or as left."""

    def blocks(self, work: Work) -> Generator[Embedded, None, None]: ...


class LocalEngine:
    """This process, with its threads and its device."""

    def blocks(self, work: Work) -> Generator[Embedded, None, None]:
        hashes = ((item, work.stored_hash(item)) for item in work.items)
        yield from blocks(work.model, changed(hashes, work.leave), work.batch_size)


def changed(items: Iterable[tuple[Item, str]], leave: Leave) -> Iterator[Examined]:
    """Examine images, lazily, and pass on those whose file has another hash than the one that is stored.

    Args:
        items: images and the hash of each that is stored, empty for none.
        leave: called with the others. A file that cannot be read is passed on: decoding it gives the reason.
    """
    stored: dict[str, str] = {}

    def noted() -> Iterator[Item]:
        for item, hash in items:
            stored[item.id] = hash
            yield item

    for each in examined(noted()):
        if each.state.hash and each.state.hash == stored.pop(each.item.id):
            leave(each.item, each.state)
        else:
            yield each
