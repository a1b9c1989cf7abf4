"""The images whose pairs are compared, and their unit pooled vectors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.model.structural import exactly
from diml.search.manifest import Manifest
from diml.search.schema import WEIGHTS
from diml.search.stored_maps import matrix, stored_local, stored_weights
from diml.search.stored_rows import StoredRows

# Rows that are read together.
BATCH = 2048


@dataclass(frozen=True, eq=False)
class Vectors:
    """The images that meet a condition, ordered by path, equal paths by id.

    Attributes:
        ids, paths: of each image.
        pooled: the unit pooled vector of each, as the account of a pair has it.
    """

    ids: list[str]
    paths: list[str]
    pooled: Float[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def read(cls, store: StoredRows, manifest: Manifest, where: str | None) -> Vectors:
        """Read them.

        Raises:
            UsageError: a condition that cannot be used.
        """
        store.count(where)  # checks the condition
        return store.read(lambda: _read(store, manifest, where))


def map_columns(store: StoredRows, manifest: Manifest) -> list[str]:
    """The columns that feature maps without a geometry are made of."""
    return [store.map_column, *(["pooled"] if manifest.own_pooled else []), *([WEIGHTS] if manifest.weighted else [])]


def _read(store: StoredRows, manifest: Manifest, where: str | None) -> Vectors:
    """The pooled vectors are means of the stored parts, which are rounded: the stored means are of the parts before."""
    columns = ["pooled"] if manifest.own_pooled else map_columns(store, manifest)
    ids, paths, pooled = [], [], [np.empty((0, manifest.dim), np.float32)]
    for rows in store.batches(["id", "path", *columns], where, BATCH):
        ids += rows["id"].to_pylist()
        paths += rows["path"].to_pylist()
        pooled.append(_unit_pooled(rows, store, manifest))
    order = sorted(range(len(ids)), key=lambda k: (paths[k], ids[k]))
    vectors = torch.from_numpy(np.concatenate(pooled)[order])
    return Vectors([ids[k] for k in order], [paths[k] for k in order], vectors)


def _unit_pooled(rows: pa.Table, store: StoredRows, manifest: Manifest) -> np.ndarray:
    # In float64, as a mean whose parts nearly cancel has no direction in float32.
    if manifest.own_pooled:
        vectors = torch.from_numpy(matrix(rows, "pooled").copy()).double()
    else:
        local = stored_local(rows, manifest, store.codec)
        vectors = exactly(FeatureMaps(local, manifest.grid, weights=stored_weights(rows))).pooled
    unit: np.ndarray = F.normalize(vectors, dim=-1).float().numpy()
    return unit
