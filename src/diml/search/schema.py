"""The columns of the table."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pyarrow as pa

from diml.errors import UsageError

# Columns that a condition may name, besides those of the user.
PLAIN = ("id", "path", "label", "hash", "bytes", "mtime_ns", "width", "height")
# How much each part counts; only in an index of weighted maps.
WEIGHTS = "part_weights"
# The map of an image: float16 numbers, or the bytes of a code.
MAP, CODE = "map", "map_code"
# A quarter of the map, for upper bounds; only in an index that has them.
SKETCH = "map_sketch"
# Which of several indices, read as one, a row is of. It is not stored, and no column of a user can have this name.
SHARD = "@shard"
LARGE = ("visible", "pooled", MAP, CODE, SKETCH, WEIGHTS, "thumbnail")
_TAKEN = frozenset({*PLAIN, *LARGE, "_rowid", "_rowaddr", "_rowoffset", "_distance", "_score", "_relevance_score"})


def table_schema(
    dim: int,
    parts: int,
    columns: Iterable[str],
    weighted: bool = False,
    code_bytes: int = 0,
    sketch_bytes: int = 0,
) -> pa.Schema:
    """The schema of a table of maps with `parts` parts of `dim` numbers each, and their weights if they have any.

    Args:
        code_bytes: of the code of a map; 0 for maps in float16.
        sketch_bytes: of the sketch of a map; 0 for none.

    >>> table_schema(2, 4, ["designer"]).field("map").type
    FixedSizeListType(fixed_size_list<item: halffloat>[8])
    """
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("path", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            *(pa.field(name, pa.string()) for name in columns),
            pa.field("hash", pa.string(), nullable=False),
            pa.field("bytes", pa.int64(), nullable=False),
            pa.field("mtime_ns", pa.int64(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("visible", pa.list_(pa.float64(), 4), nullable=False),
            pa.field("pooled", pa.list_(pa.float32(), dim), nullable=False),
            _map_field(parts * dim, code_bytes),
            *([pa.field(SKETCH, pa.list_(pa.uint8(), sketch_bytes), nullable=False)] if sketch_bytes else []),
            *([pa.field(WEIGHTS, pa.list_(pa.float32(), parts), nullable=False)] if weighted else []),
            pa.field("thumbnail", pa.binary(), nullable=False),
        ]
    )


def _map_field(numbers: int, code_bytes: int) -> pa.Field:
    if code_bytes:
        return pa.field(CODE, pa.list_(pa.uint8(), code_bytes), nullable=False)
    return pa.field(MAP, pa.list_(pa.float16(), numbers), nullable=False)


def stored_name(name: str) -> str:
    """The name under which a column of a table is stored: reserved names get a `_` at the end, and other characters
    than a name may have become `_`. It depends on the name alone, so that a table can be added again.

    >>> [stored_name(name) for name in ("designer", "id", "size.cm", "#")]
    ['designer', 'id_', 'size_cm', '_']
    """
    plain = re.sub(r"[.`\"\x00-\x1f]|^\W", "_", name)
    return plain + "_" if plain.lower() in _TAKEN else plain


def check_columns(columns: Iterable[str]) -> tuple[str, ...]:
    """Check the names of columns: the table can store them, and a condition can name them, which ignores case.

    >>> check_columns(["designer", "wing length"])
    ('designer', 'wing length')
    """
    seen: set[str] = set()
    for name in columns:
        if name.lower() in _TAKEN:
            raise UsageError(f"the column {name!r} has a name that the index reserves; rename it")
        if not re.fullmatch(r"\w[^.`\"\x00-\x1f]*", name):
            raise UsageError(
                f"the column {name!r} cannot be stored in an index; give it a name that begins with a letter or digit "
                "and has no dot, backtick or double quote"
            )
        if name.lower() in seen:
            raise UsageError(f"the column {name!r} is there twice, up to case; rename one of them")
        seen.add(name.lower())
    return tuple(columns)
