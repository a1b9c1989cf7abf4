"""The form in which an index stores the maps and pictures of its images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.model import storable
from diml.search.codes import FLOAT16, Codec, load_codec
from diml.search.codes.sketches import Sketches
from diml.search.manifest import Manifest
from diml.search.places import Place
from diml.search.schema import CODE, MAP, SKETCH, WEIGHTS, table_schema


@dataclass(frozen=True)
class RowForm:
    """The form of the large columns.

    Attributes:
        codec: of the maps; None for maps in float16.
        thumbnails: whether there is a small picture of each image.
        sketches: of the maps; None without any.
    """

    codec: Codec | None = None
    thumbnails: bool = True
    sketches: Sketches | None = None

    @classmethod
    def stored(cls, folder: Place, manifest: Manifest) -> RowForm:
        """That of an index.

        Raises:
            StoreError: the file of its codes is missing or another.
        """
        codec = None
        parts = manifest.grid[0] * manifest.grid[1]
        if manifest.codes != FLOAT16:
            known = manifest.codes, manifest.codes_digest, manifest.codes_fitted_on
            codec = load_codec(folder, *known, parts, manifest.dim)
        return cls(codec, manifest.thumbnails, Sketches(parts, manifest.dim) if manifest.sketches else None)

    def schema(self, dim: int, parts: int, columns: Iterable[str], weighted: bool) -> pa.Schema:
        """Of a table of such rows."""
        code_bytes = 0 if self.codec is None else self.codec.bytes
        sketch_bytes = 0 if self.sketches is None else self.sketches.bytes
        return table_schema(dim, parts, columns, weighted, code_bytes, sketch_bytes)

    def columns(self, maps: FeatureMaps) -> dict[str, pa.Array]:
        """The columns of maps: in float16 or as codes, with their pooled vectors, weights and sketches.

        The pooled vector of a code is that of the map that it stands for, so that both are of one image.
        """
        local, pooled = storable(maps)
        weights = {} if maps.weights is None else {WEIGHTS: _fixed(maps.weights.float())}
        if self.codec is None:
            stored = {MAP: _fixed(local.flatten(1))}
        else:
            codes = self.codec.encode(local.float(), maps.weights_or_uniform.float())
            stored = {CODE: _fixed(codes)}
            if maps.own_pooled is None:
                pooled = FeatureMaps(self.codec.decode(codes), maps.grid, weights=maps.weights).pooled
        if self.sketches is not None:
            # As the index reads them, the pooled vector of the model's own included.
            own = None if maps.own_pooled is None else pooled
            stored[SKETCH] = _fixed(self.sketches.encode(maps.replace(local=local.float(), pooled=own), pooled))
        return {"pooled": _fixed(pooled), **stored, **weights}


def _fixed(matrix: Tensor) -> pa.Array:
    values: np.ndarray = matrix.contiguous().numpy()
    return fixed_lists(values)


def fixed_lists(matrix: np.ndarray) -> pa.Array:
    """The rows of a matrix as lists of one length."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).reshape(-1)), matrix.shape[1])


FLOAT16_ROWS = RowForm()
