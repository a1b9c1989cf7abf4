"""Blocks of images that another process embedded: what is stored of them is computed there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import pyarrow as pa

from diml import errors
from diml.errors import DimlError, ImageError
from diml.search.blocks import Block, table_of
from diml.search.items import FileState, Item
from diml.search.row_form import RowForm


@dataclass(frozen=True)
class RowBlock:
    """As `Block`, with the columns that were computed from the images in place of the maps."""

    items: list[Item]
    states: list[FileState]
    columns: pa.Table
    failures: list[tuple[Item, ImageError]]

    def __len__(self) -> int:
        return len(self.items)

    def rows(
        self, keep: Sequence[int], metas: Sequence[Mapping[str, str | None]], schema: pa.Schema, form: RowForm
    ) -> pa.Table:
        """See `Block.rows`; the form is the one in which the columns are."""
        if not keep:
            return schema.empty_table()
        columns = self.columns if len(keep) == len(self) else self.columns.take(pa.array(keep, pa.int64()))
        items, states = [self.items[i] for i in keep], [self.states[i] for i in keep]
        return table_of(items, states, dict(zip(columns.column_names, columns.columns, strict=True)), metas, schema)


@dataclass(frozen=True)
class Answer:
    """What a process sends back about some images. It has no items: whoever asked has them.

    Attributes:
        about: JSON: places and states of the embedded images and of those left as they are stored; places and reasons
            of those that cannot be read; the backends that ran; or an error of the library that ended the work.
        columns: of the embedded images, in Arrow's IPC format.
    """

    about: bytes
    columns: bytes

    @classmethod
    def of(
        cls,
        items: Sequence[Item],
        embedded: Sequence[Block],
        form: RowForm,
        left: Sequence[tuple[Item, FileState]],
        backends: Iterable[str],
    ) -> Answer:
        """About images that were asked for, in this order."""
        place = {item.id: at for at, item in enumerate(items)}
        about = {
            "embedded": [
                (place[item.id], *astuple(state))
                for block in embedded
                for item, state in zip(block.items, block.states, strict=True)
            ],
            "failed": [(place[item.id], str(error)) for block in embedded for item, error in block.failures],
            "left": [(place[item.id], *astuple(state)) for item, state in left],
            "backends": sorted(backends),
        }
        tables = [pa.table(block.columns(range(len(block)), form)) for block in embedded if len(block)]
        return cls(json.dumps(about).encode(), _packed(pa.concat_tables(tables)) if tables else b"")

    @classmethod
    def failed(cls, error: DimlError) -> Answer:
        """The work ended with an error that a user can correct."""
        return cls(json.dumps({"error": [type(error).__name__, str(error)]}).encode(), b"")

    def read(self, items: Sequence[Item]) -> tuple[RowBlock, list[tuple[Item, FileState]], list[str]]:
        """The embedded images, those left as they are stored, and the backends that ran.

        Args:
            items: those that were asked for, in the same order.

        Raises:
            DimlError: the error that ended the work.
        """
        about: dict[str, Any] = json.loads(self.about)
        if "error" in about:
            kind, message = about["error"]
            raise getattr(errors, kind, DimlError)(message)
        columns = pa.ipc.open_stream(self.columns).read_all() if self.columns else pa.table({})
        embedded = [(items[at], FileState(*state)) for at, *state in about["embedded"]]
        failures = [(items[at], ImageError(reason)) for at, reason in about["failed"]]
        block = RowBlock([item for item, _ in embedded], [state for _, state in embedded], columns, failures)
        return block, [(items[at], FileState(*state)) for at, *state in about["left"]], about["backends"]


def _packed(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    packed: bytes = sink.getvalue().to_pybytes()
    return packed
