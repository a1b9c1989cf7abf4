"""Rows of the table, read as feature maps."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from torch import Tensor

from diml.feature_maps import FeatureMaps, Geometry
from diml.matching import CodedMaps
from diml.search.codes import FLOAT16, Decoder, parse_codes
from diml.search.manifest import Manifest
from diml.search.schema import CODE, MAP, WEIGHTS


def stored_maps(rows: pa.Table, manifest: Manifest, codec: Decoder | None = None) -> FeatureMaps:
    """(n, r, d) float32 maps of rows, with geometry and weights if the index has any, on the CPU."""
    pooled = torch.from_numpy(matrix(rows, "pooled").copy()) if manifest.own_pooled else None
    size = np.stack([rows["width"].to_numpy(), rows["height"].to_numpy()], axis=1).astype(np.int64)
    geometry = Geometry(torch.from_numpy(size), torch.from_numpy(matrix(rows, "visible").copy()))
    local = stored_local(rows, manifest, codec).float()
    return FeatureMaps(local, manifest.grid, pooled, geometry, stored_weights(rows))


def unread_maps(rows: pa.Table, manifest: Manifest, codec: Decoder | None) -> CodedMaps:
    """The same maps as they are stored, for comparing them; without a geometry.

    Float16 maps are the codes float16 of all parts.
    """
    pooled = torch.from_numpy(matrix(rows, "pooled").copy()) if manifest.own_pooled else None
    if codec is None:
        codec = parse_codes(FLOAT16, manifest.grid[0] * manifest.grid[1], manifest.dim)
        codes = matrix(rows, MAP).view(np.uint8)
    else:
        codes = matrix(rows, CODE)
    return CodedMaps(codes, codec.layout, manifest.grid, codec.decode, pooled, stored_weights(rows))


def stored_local(rows: pa.Table, manifest: Manifest, codec: Decoder | None) -> Float[Tensor, "n r d"]:
    """(n, r, d): the maps of rows in float16, or what their codes stand for, in float32."""
    return decoded(matrix(rows, MAP if codec is None else CODE).copy(), manifest, codec)


def decoded(values: np.ndarray, manifest: Manifest, codec: Decoder | None) -> Float[Tensor, "n r d"]:
    """The same, of the values of the column, one row for each image."""
    if codec is not None:
        return codec.decode(torch.from_numpy(values))
    return torch.from_numpy(values).reshape(len(values), manifest.grid[0] * manifest.grid[1], manifest.dim)


def stored_weights(rows: pa.Table) -> Float[Tensor, "n r"] | None:
    """(n, r) float32 weights of the parts of rows; None if all count the same."""
    return torch.from_numpy(matrix(rows, WEIGHTS).copy()) if WEIGHTS in rows.column_names else None


def matrix(rows: pa.Table, name: str) -> np.ndarray:
    """(n, length) values of a column of lists of one length."""
    column = rows[name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks)
    values: np.ndarray = column.flatten().to_numpy()
    return values.reshape(len(rows), column.type.list_size)
