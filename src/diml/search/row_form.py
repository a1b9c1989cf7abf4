"""The form in which an index stores the maps and pictures of its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diml.search.codes import FLOAT16, Codec, load_codec
from diml.search.manifest import Manifest


@dataclass(frozen=True)
class RowForm:
    """The form of the large columns.

    Attributes:
        codec: of the maps; None for maps in float16.
        thumbnails: whether there is a small picture of each image.
    """

    codec: Codec | None = None
    thumbnails: bool = True

    @classmethod
    def stored(cls, folder: Path, manifest: Manifest) -> RowForm:
        """That of an index.

        Raises:
            StoreError: the file of its codes is missing or another.
        """
        codec = None
        if manifest.codes != FLOAT16:
            parts = manifest.grid[0] * manifest.grid[1]
            known = manifest.codes, manifest.codes_digest, manifest.codes_fitted_on
            codec = load_codec(folder, *known, parts, manifest.dim)
        return cls(codec, manifest.thumbnails)


FLOAT16_ROWS = RowForm()
