"""Feature maps of the images that are compared, read in blocks, of which some are kept."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from diml.feature_maps import FeatureMaps
from diml.search.manifest import Manifest
from diml.search.pairs.vectors import map_columns
from diml.search.schema import WEIGHTS
from diml.search.stored_maps import decoded, matrix
from diml.search.stored_rows import StoredRows

# Images in a block, and bytes of its unit vectors in float32; the smaller one counts, but at least FEWEST images.
SIDE, BLOCK_BYTES, FEWEST = 4096, 2**26, 256
# Bytes of the maps, as in float16, that are kept.
KEPT_BYTES = 2**29

Arrays = dict[str, np.ndarray]


class MapBlocks:
    """The maps of images by their number, read a block at a time; the blocks that were used last are kept.

    Args:
        store, manifest: of the index.
        ids: of the images, by number.
    """

    def __init__(self, store: StoredRows, manifest: Manifest, ids: list[str]) -> None:
        self.store, self.manifest, self.ids = store, manifest, ids
        cells = manifest.grid[0] * manifest.grid[1]
        self.side = max(FEWEST, min(SIDE, BLOCK_BYTES // (4 * (cells + 1) * manifest.dim)))
        self.room = max(2, KEPT_BYTES // (2 * cells * manifest.dim * self.side))
        self._kept: OrderedDict[int, Arrays] = OrderedDict()

    @property
    def reads(self) -> int:
        """How many images are read, at most, where every block is compared with every block."""
        blocks = -(-len(self.ids) // self.side)
        return len(self.ids) if blocks <= self.room else len(self.ids) * (blocks + 1) // 2

    def maps(self, numbers: Int[Tensor, " k"]) -> FeatureMaps:
        """The maps of some images, float32, without geometry.

        Args:
            numbers: of the images, ascending.

        Raises:
            StoreError: one of them is not stored any more.
        """
        wanted = numbers.numpy()
        blocks = wanted // self.side
        pieces = []
        for block in np.unique(blocks):
            arrays = self._block(int(block))
            pieces.append({name: array[wanted[blocks == block] % self.side] for name, array in arrays.items()})
        return self._made({name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]})

    def few(self, numbers: Int[Tensor, " k"]) -> FeatureMaps:
        """The same, read without the rest of their blocks."""
        return self._made(self._read([self.ids[at] for at in numbers.tolist()]))

    def _made(self, arrays: Arrays) -> FeatureMaps:
        # As `stored_maps` makes them, so that numbers are the same to the last bit.
        pooled = torch.from_numpy(arrays["pooled"]) if self.manifest.own_pooled else None
        weights = torch.from_numpy(arrays[WEIGHTS]) if self.manifest.weighted else None
        local = decoded(arrays[self.store.map_column], self.manifest, self.store.codec).float()
        return FeatureMaps(local, self.manifest.grid, pooled, weights=weights)

    def _block(self, block: int) -> Arrays:
        if block not in self._kept:
            while len(self._kept) >= self.room:
                self._kept.popitem(last=False)
            self._kept[block] = self._read(self.ids[block * self.side : (block + 1) * self.side])
        self._kept.move_to_end(block)
        return self._kept[block]

    def _read(self, ids: list[str]) -> Arrays:
        names = map_columns(self.store, self.manifest)
        rows = self.store.rows_in_order(ids, names)
        return {name: matrix(rows, name).copy() for name in names}
