"""diml search --jsonl: a line of JSON for each of many images that are looked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from diml.cli.output import print_json, report_skipped

if TYPE_CHECKING:
    from diml.data import Skipped
    from diml.files import AnyPath
    from diml.search import Index
    from diml.search.limits import SearchShortlist


def print_many(index: Index, name: str, images: str, *, k: int, shortlist: SearchShortlist, where: str | None) -> None:
    """Print the document of each image, or why it cannot be read, as they come; what was left out on standard error.

    Args:
        index: where to search.
        name: of the index, in the documents.
        images: a folder, a table, a tar or table of images, or an image file.
        k, shortlist, where: see `Index.search`.

    Raises:
        Exit: none of the images can be read; the exit code is 1.
    """
    from diml.data import Skipped, printable
    from diml.search import FailedQuery

    files, skipped, notes = _listed(images)
    failed: list[Skipped] = []
    for file, found in zip(files, index.search_stream(files, k, shortlist, where), strict=True):
        if isinstance(found, FailedQuery):
            failed.append(Skipped(printable(file), str(found.error)))
            print_json(found.to_dict(query=str(file)))
        else:
            print_json(found.to_dict(index=name, query=str(file)))
    report_skipped([*skipped, *failed], notes)
    if len(failed) == len(files):
        raise typer.Exit(1)


def _listed(images: str) -> tuple[Sequence[AnyPath], Sequence[Skipped], Sequence[str]]:
    """The files to look for, what was left out of them, and notes."""
    from diml.data.packed import is_packed
    from diml.data.table_formats import is_table
    from diml.search.as_collection import as_collection

    if os.path.isfile(images) and not is_table(images) and not is_packed(images):
        return [images], [], []
    collection = as_collection(images)
    return [collection.file(i) for i in range(len(collection))], collection.skipped, collection.notes
