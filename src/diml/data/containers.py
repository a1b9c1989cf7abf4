"""Files and datasets that may hold images, by their names."""

from __future__ import annotations

import os

from diml.files import AnyPath

TAR, LANCE = ".tar", ".lance"
PARQUET = frozenset({".parquet", ".pq"})


def may_hold_images(name: AnyPath) -> bool:
    """Whether a file is named like a tar, compressed or not, or a Parquet file.

    >>> may_hold_images("shard-000.tar"), may_hold_images("photos.PARQUET"), may_hold_images("photos.csv")
    (True, True, False)
    """
    return ending_of(name) in PARQUET or is_tar(name)


def is_tar(name: AnyPath) -> bool:
    """Whether a file is named like a tar, compressed or not."""
    return ending_of(name) == TAR or is_compressed_tar(name)


def is_compressed_tar(name: AnyPath) -> bool:
    """Whether a file is named like a compressed tar.

    >>> is_compressed_tar("photos.tar.gz"), is_compressed_tar("photos.tar")
    (True, False)
    """
    stem, ending = os.path.splitext(os.fspath(name).lower())
    return ending in (".tgz", ".tbz2", ".txz", ".tzst") or (
        stem.endswith(TAR) and ending in (".gz", ".bz2", ".xz", ".zst")
    )


def is_lance(folder: AnyPath) -> bool:
    """Whether a folder is a Lance dataset."""
    return ending_of(folder) == LANCE and os.path.isdir(os.path.join(folder, "_versions"))


def ending_of(name: AnyPath) -> str:
    """In lower case, with the dot."""
    return os.path.splitext(os.fspath(name))[1].lower()
