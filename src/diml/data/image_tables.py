"""Tables that hold the images themselves: which column they are in, and what the others say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from diml.data.formats import HEAD, kind_of
from diml.data.gathered import LABEL, Gathered, member_path
from diml.data.printable import printable
from diml.data.table_formats import MAX_BYTES, as_text, text_bytes
from diml.errors import DatasetError

# The column of images, where several hold bytes.
_IMAGES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "picture", "photo", "data")
# The column that names an image.
_PATHS = ("path", "file_name", "filename", "image_path", "key", "__key__")
# Fields of a struct that Hugging Face's datasets write for an image.
BYTES, PATH = "bytes", "path"
# Rows whose texts are read at once, and rows that are looked at to tell which column holds images.
TEXT_ROWS, FIRST = 4096, 64


@dataclass(frozen=True)
class Layout:
    """What the columns of a table hold.

    Attributes:
        image: the column of encoded images.
        nested: whether it is a struct `{bytes, path}`, as Hugging Face's datasets write it.
        path: the column that names an image; `image.path` for the path in the struct; empty for none.
        columns: the columns of texts and numbers.
        left_out: columns that hold something else.
        classes: names of the numbers in the column `label`, where the table says them.
    """

    image: str
    nested: bool
    path: str
    columns: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    @property
    def read(self) -> list[str]:
        """What to read to know all but the images."""
        hint = self.path if self.path == f"{self.image}.{PATH}" else ""
        return [*self.columns, *([hint] if hint else [])]


def image_columns(schema: pa.Schema) -> list[str]:
    """The columns that may hold encoded images: bytes, or a struct with a field `bytes`; the likeliest first."""
    names = [each.name for each in schema if _holds_bytes(each.type)]
    known = [name for name in _IMAGES if name in names]
    return [*known, *(name for name in names if name not in known)]


def layout(schema: pa.Schema, image: str) -> Layout:
    """What the columns of a table hold, one of which holds images."""
    nested = pa.types.is_struct(schema.field(image).type)
    others = [each for each in schema if each.name != image]
    plain = tuple(each.name for each in others if not _is_other(each.type))
    path = next((name for name in _PATHS if name in plain), "")
    if not path and nested and PATH in [each.name for each in schema.field(image).type]:
        path = f"{image}.{PATH}"
    left_out = tuple(each.name for each in others if _is_other(each.type))
    return Layout(image, nested, path, plain, left_out, _classes(schema))


def is_image(data: Any) -> bool:
    """Whether a cell holds an encoded image, by its first bytes; a struct by its field `bytes`."""
    data = data.get(BYTES) if isinstance(data, Mapping) else data
    kind = kind_of(data[:HEAD]) if isinstance(data, bytes) else None
    return kind is not None and kind.picture


@dataclass
class Rows:
    """Rows of a table as they come, and the images in them.

    Args:
        name: of the table, for messages.
        path: its own, relative to the collection.
        layout: of its columns.
        named: whether rows are named by the column of paths, rather than by their numbers.
        into: receives the images.
    """

    name: str
    path: str
    layout: Layout
    named: bool
    into: Gathered
    _rows: dict[str, int] = field(default_factory=dict)
    _count: int = 0
    _held: int = 0

    def take(self, batch: pa.RecordBatch, sources: Iterable[tuple[Any, ...]], make: Any) -> None:
        """The rows of a batch: `make(*source, path)` says where the image of a row lies.

        Raises:
            DatasetError: two rows have one path, or there is more text than can be held.
        """
        self._held += sum(map(text_bytes, batch.columns))
        if self._held > MAX_BYTES:
            raise DatasetError(
                f"{self.name}: has more than {MAX_BYTES:,} bytes of text beside its images; leave columns out, or "
                "divide it"
            )
        columns = {name: self._texts(batch, name) for name in self.layout.columns}
        hint = self._texts(batch, self.layout.path) if self.named else None
        for i, source in enumerate(sources):
            row, self._count = self._count, self._count + 1
            given = str(row) if hint is None else hint[i]
            plain = member_path(given or "")
            if plain is None:
                self.into.leave(f"{self.path}/{row}", _no_path(given, self.layout.path, row))
                continue
            first = self._rows.setdefault(plain, row) if self.named else row
            if first != row:
                raise DatasetError(
                    f"{self.name}: names {printable(plain)} twice in its column {self.layout.path}, in rows {first} "
                    f"and {row} (counted from 0); give each image a path of its own"
                )
            values = {name: texts[i] for name, texts in columns.items() if name != self.layout.path}
            self.into.add(f"{self.path}/{plain}", make(*source, plain), values)

    def _texts(self, batch: pa.RecordBatch, name: str) -> list[str | None]:
        values = batch.column(name).to_pylist()
        classes = self.layout.classes if name == LABEL else ()
        if classes:
            return [classes[v] if isinstance(v, int) and 0 <= v < len(classes) else as_text(v) for v in values]
        return [as_text(value) for value in values]


def note_left_out(name: str, found: Layout, into: Gathered) -> None:
    """Note the columns of a table that hold neither texts nor numbers."""
    if found.left_out:
        into.note(name, f"left out, as they hold neither texts nor numbers: {printable(', '.join(found.left_out))}")


def bytes_of(cell: Any) -> bytes | None:
    """The bytes in a cell, or in the struct in it; None if there are none."""
    data = cell.get(BYTES) if isinstance(cell, Mapping) else cell
    return data if isinstance(data, bytes) and data else None


def _no_path(given: str | None, column: str, row: int) -> str:
    where = f"row {row} (counted from 0)"
    if not given:
        return f"{where} has no {column}; name every image, or leave the column out"
    return f"{where} has the {column} {printable(given)}, which leads out of the table; name it without .."


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(each.name == BYTES and _holds_bytes(each.type) for each in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_other(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_other(kind.value_type)
    return bool(pa.types.is_nested(kind) or _holds_bytes(kind) or pa.types.is_fixed_size_binary(kind))


def _classes(schema: pa.Schema) -> tuple[str, ...]:
    """The names of the classes that Hugging Face's datasets write beside numbers of a column `label`."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = about["info"]["features"][LABEL]["names"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ()
    good = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(names) if good and pa.types.is_integer(schema.field(LABEL).type) else ()


def is_named(name: str, found: Layout, read: Callable[[], Iterable[pa.RecordBatch]], into: Gathered) -> bool:
    """Whether the images of a table are named by its paths, rather than by the numbers of their rows.

    A column of paths does name them. The paths in a struct `{bytes, path}` are no more than a hint, such as `image.png`
    in each row: they name the images if each has one, and each has another.

    Args:
        name: of the table, for messages.
        found: its columns.
        read: reads the column of paths.
        into: receives a note where paths do not name the images.
    """
    if not found.path or found.path in found.columns:
        return bool(found.path)
    seen: set[str | None] = {None}
    for batch in read():
        for hint in batch.column(found.path).to_pylist():
            if hint in seen:
                into.note(name, f"images are named by their rows, as {found.path} does not tell them apart")
                return False
            seen.add(hint)
    return True
