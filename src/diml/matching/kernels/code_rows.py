"""Unit rows of codes for the CPU backend, written into memory that a thread uses again and again.

Decoded as a whole, thousands of maps would be written to fresh memory and read again from there, which takes several
times as long as comparing them.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diml.matching.kernels.coded_maps import FORMS, CodedMaps, CodeLayout
from diml.matching.kernels.compiling import BORDER, Array, aligned
from diml.matching.kernels.lanes import WIDTH
from diml.matching.kernels.lanes_codes import unit_rows
from diml.matching.kernels.threads import in_threads

NONE = np.empty(0, np.float32)
# Images whose pooled vectors a thread computes at a time.
PIECE = 1024

Scratch = tuple[Array, Array, Array]


def new_scratch(layout: CodeLayout) -> Scratch:
    """The memory of a thread in `read_rows`."""
    padded = -(-layout.dim // WIDTH) * WIDTH
    vectors = aligned((layout.kept + 1) * padded + BORDER)
    return vectors, aligned(layout.kept + 1), np.zeros(layout.parts + 1, np.int64)


def read_rows(maps: CodedMaps, images: Array, scratch: Scratch, out: Array, pooled_only: bool = False) -> None:
    """Write the unit rows (n, r + 1, d) of n of the images, the pooled one last, or the pooled ones alone.

    Args:
        images: (n,) int64 numbers of images, not checked.
        out: flat float32, at least `BORDER` numbers longer than the rows.
    """
    layout = maps.layout
    shape = layout.parts, layout.kept, layout.dim, layout.places
    tables = 0 if layout.centroids is None else len(layout.centroids)
    product = layout.vector_bytes, tables, int(layout.tagged)
    beside = (NONE if x is None else _flat(x) for x in (maps.weights, maps.own_pooled))
    how = FORMS.index(layout.form), shape, product, layout.flat_centroids, *beside, pooled_only
    unit_rows(maps.codes.reshape(-1), layout.bytes, images, *how, *scratch, out)


def unit_pooled(maps: CodedMaps) -> Float[Tensor, "n d"]:
    """The unit pooled vectors of all images, float32."""
    n, dim = len(maps), maps.layout.dim
    pooled = np.empty((n, dim), np.float32)

    def piece(start: int) -> None:
        images = np.arange(start, min(start + PIECE, n))
        out = np.empty(len(images) * dim + BORDER, np.float32)
        read_rows(maps, images, new_scratch(maps.layout), out, pooled_only=True)
        pooled[start : start + PIECE] = out[:-BORDER].reshape(-1, dim)

    in_threads(piece, range(0, n, PIECE), n)
    return torch.from_numpy(pooled)


def _flat(values: Tensor) -> Array:
    flat: Array = values.detach().float().contiguous().numpy().reshape(-1)
    return flat
