"""The files that tables are read from: CSV, TSV, JSON lines and Parquet, as a header and rows of text."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diml.data.printable import printable
from diml.errors import DatasetError, UsageError, first_line

TABLES = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq"})
"""File endings, in lower case, that are taken for tables."""
MAX_BYTES = 256 * 2**20
"""Larger tables are refused before they are read; a Parquet file by its size without compression."""
MAX_CELLS = 20_000_000
_OTHERS = {b"\x1f\x8b": "is compressed (gzip); unpack it", b"PK": "is an Excel or ZIP file; save the table as CSV"}


@dataclass(frozen=True)
class Rows:
    """A table as text: the header, and each row with its number in the file (of `unit`); rows may be short or long."""

    header: list[str]
    rows: list[tuple[int, list[str | None]]]
    unit: str = "line"


def is_table(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a table, by its ending.

    >>> is_table("labels.TSV"), is_table("cat.jpg")
    (True, False)
    """
    return os.path.splitext(path)[1].lower() in TABLES


def read_rows(source: Path) -> Rows:
    """Read a table. Its format is told by its ending, Parquet by its content; other endings are read as CSV.

    Raises:
        UsageError: there is no such file, or it is not a regular file.
        DatasetError: it cannot be read as a table, or exceeds `MAX_BYTES` or `MAX_CELLS`.
    """
    expected = "expected a CSV, TSV, JSON lines or Parquet table with the columns path,label"
    if not os.path.lexists(source):
        raise UsageError(f"{printable(source)}: there is no such file; {expected}")
    if not os.path.isfile(source):
        raise UsageError(f"{printable(source)}: is not a regular file; {expected}")
    try:
        if (size := os.path.getsize(source)) > MAX_BYTES:
            raise _too_large(source, f"{size:,} bytes", f"{MAX_BYTES:,} bytes")
        with open(source, "rb") as file:
            magic = file.read(4)
        if magic == b"PAR1":
            return _parquet(source)
        for start, reason in _OTHERS.items():
            if magic.startswith(start):
                raise DatasetError(f"{printable(source)}: {reason}")
        ending = source.suffix.lower()
        with open(source, encoding="utf-8-sig", newline="") as text:
            if ending in (".jsonl", ".ndjson"):
                return _json_lines(source, text)
            return _delimited(source, text, "\t" if ending in (".tsv", ".tab") else ",")
    except UnicodeDecodeError:
        raise DatasetError(f"{printable(source)}: is not UTF-8 text; save the table as UTF-8") from None
    except OSError as error:
        raise DatasetError(f"{printable(source)}: cannot be read ({error.strerror})") from None


def _delimited(source: Path, text: Iterable[str], delimiter: str) -> Rows:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        rows: list[tuple[int, list[str | None]]] = []
        cells = 0
        for row in reader:
            cells += max(len(row), len(header))
            _check_cells(source, cells)
            rows.append((reader.line_num, list(row)))
    except csv.Error as error:
        kind, ends = ("CSV", "commas") if delimiter == "," else ("TSV", "tabs")
        raise DatasetError(
            f"{printable(source)}: is not a {kind} table ({printable(str(error))}); check its quotes and {ends}"
        ) from None
    return Rows(header, rows)


def _json_lines(source: Path, text: Iterable[str]) -> Rows:
    objects: list[tuple[int, dict[str, str | None]]] = []
    header: dict[str, None] = {}
    for number, line in enumerate(text, start=1):
        if line.strip():
            objects.append((number, dict(_json_object(line, f"{printable(source)} line {number}"))))
            header.update(dict.fromkeys(objects[-1][1]))
            _check_cells(source, len(objects) * len(header))
    return Rows(list(header), [(number, [held.get(name) for name in header]) for number, held in objects])


def _json_object(line: str, where: str) -> Iterator[tuple[str, str | None]]:
    expected = 'expected an object such as {"path": "a.jpg", "label": "cat"}'
    try:
        pairs = json.loads(line, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{where}: is not JSON ({printable(first_line(error))}); {expected}") from None
    if not isinstance(pairs, _Pairs):
        raise DatasetError(f"{where}: is not an object; {expected}")
    names = [name for name, _ in pairs]
    for i, (name, value) in enumerate(pairs):
        if name in names[:i]:
            raise DatasetError(f"{where}: has {printable(name)} twice; remove one of them")
        if isinstance(value, list):
            raise DatasetError(f"{where}: {printable(name)} holds several values; expected a text or a number")
        yield name, as_text(value)


class _Pairs(list[tuple[str, Any]]):
    """The names and values of an object in JSON, each as often as it is written."""


def _parquet(source: Path) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source)
        schema, about = file.schema_arrow, file.metadata
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if size > MAX_BYTES:
            raise _too_large(source, f"{size:,} bytes without compression", f"{MAX_BYTES:,} bytes")
        _check_cells(source, about.num_rows * len(schema))
        for name, kind in zip(schema.names, schema.types, strict=True):
            if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
                raise DatasetError(
                    f"{printable(source)}: the column {printable(name)} holds {kind}; expected texts and numbers, so "
                    "leave it out"
                )
        # Repeated texts are stored once, and are not to be multiplied before they are counted.
        file = pq.ParquetFile(source, read_dictionary=schema.names)
        rows: list[tuple[int, list[str | None]]] = []
        held = 0
        for batch in file.iter_batches(4096):
            held += sum(map(text_bytes, batch.columns))
            if held > MAX_BYTES:
                raise _too_large(source, f"more than {MAX_BYTES:,} bytes of text", f"{MAX_BYTES:,}")
            columns = [[as_text(value) for value in column.to_pylist()] for column in batch.columns]
            rows += [(len(rows) + i, list(row)) for i, row in enumerate(zip(*columns, strict=True), start=1)]
    except DatasetError:
        raise
    # On arbitrary bytes the reader raises errors of many types.
    except Exception as error:
        raise DatasetError(
            f"{printable(source)}: is not a Parquet table that can be read ({printable(first_line(error))}); write it "
            "again"
        ) from None
    return Rows(schema.names, rows, "row")


def text_bytes(column: Any) -> int:
    """Bytes of the texts of a column of Arrow, without decoding those that are stored once for many rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = pa.types.is_dictionary(column.type)
    texts = column.dictionary if coded else column
    if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
        return 0
    lengths = pc.binary_length(texts)
    return pc.sum(lengths.take(column.indices) if coded else lengths).as_py() or 0


def as_text(value: Any) -> str | None:
    """A value as the same table has it in CSV."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value)


def _check_cells(source: Path, cells: int) -> None:
    if cells > MAX_CELLS:
        raise _too_large(source, f"more than {MAX_CELLS:,} cells", f"{MAX_CELLS:,}")


def _too_large(source: Path, found: str, most: str) -> DatasetError:
    return DatasetError(f"{printable(source)}: has {found}; expected at most {most}: leave columns out, or divide it")
