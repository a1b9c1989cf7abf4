"""Product codes (Jegou, Douze, Schmid 2011): a vector is cut into pieces, and each becomes the number of a centroid."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from diml.errors import UsageError
from diml.matching.kernels import is_compiled

# Centroids of each piece: as many as a byte can name.
CENTROIDS = 256
# Vectors that centroids are fitted on at most, and steps of the fitting.
MOST = 1 << 16
STEPS = 20
# Vectors whose distances to all centroids are held at once.
HELD = 4096


class Product:
    """One byte for each of `pieces` pieces of a vector.

    Args:
        pieces: bytes of a vector.
        dim: numbers of a vector; the first pieces have one number more where it cannot be divided evenly.
        centroids: (pieces, 256, width) of the pieces, those that are shorter filled with 0; None before `fit`.

    Raises:
        UsageError: more pieces than numbers.

    >>> vectors = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    >>> code = Product(4, 8).fit(vectors)
    >>> code.encode(vectors[:2]).shape, bool((code.decode(code.encode(vectors)) - vectors).square().mean() < 0.02)
    (torch.Size([2, 4]), True)
    """

    form = "product"

    def __init__(self, pieces: int, dim: int, centroids: Float[Tensor, "m 256 w"] | None = None) -> None:
        if not 1 <= pieces <= dim:
            raise UsageError(f"expected pq1 to pq{dim} for maps of dim {dim}, got pq{pieces}")
        self.name = f"pq{pieces}"
        self.bytes, self.dim = pieces, dim
        self.centroids = centroids
        self.width = -(-dim // pieces)

    @property
    def fitted(self) -> bool:
        return self.centroids is not None

    def fit(self, vectors: Float[Tensor, "n d"]) -> Product:
        """Centroids of each piece, by k-means on at most 65,536 of the vectors.

        Raises:
            UsageError: fewer than 256 vectors.
        """
        if len(vectors) < CENTROIDS:
            raise UsageError(
                f"expected at least {CENTROIDS} parts to fit the codes {self.name} on, got {len(vectors)}; add more "
                "images at once, or use int8, which needs none"
            )
        drawn = torch.Generator().manual_seed(0)
        chosen = torch.randperm(len(vectors), generator=drawn)[:MOST]
        return Product(self.bytes, self.dim, k_means(self._pieces(vectors[chosen]), CENTROIDS))

    def encode(self, vectors: Float[Tensor, "n d"]) -> UInt8[Tensor, "n bytes"]:
        assert self.centroids is not None
        return nearest(self._pieces(vectors), self.centroids).mT.to(torch.uint8).contiguous()

    def decode(self, codes: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n d"]:
        assert self.centroids is not None
        flat = self.centroids.reshape(-1, self.width)
        at = codes.int() + CENTROIDS * torch.arange(self.bytes, dtype=torch.int32)
        found = flat.index_select(0, at.reshape(-1)).reshape(len(codes), self.bytes * self.width)
        return found if self.bytes * self.width == self.dim else found[:, self._places]

    @property
    def _places(self) -> Int[Tensor, " d"]:
        """Where each number of a vector lies among the filled pieces."""
        longer = self.dim - self.bytes * (self.width - 1)
        lengths = [self.width] * longer + [self.width - 1] * (self.bytes - longer)
        return torch.tensor([piece * self.width + k for piece, length in enumerate(lengths) for k in range(length)])

    def _pieces(self, vectors: Float[Tensor, "n d"]) -> Float[Tensor, "m n w"]:
        if self.bytes * self.width != self.dim:
            filled = vectors.new_zeros(len(vectors), self.bytes * self.width)
            filled[:, self._places] = vectors
            vectors = filled
        return vectors.reshape(len(vectors), self.bytes, self.width).transpose(0, 1).contiguous()


def k_means(points: Float[Tensor, "m n w"], k: int, steps: int = STEPS) -> Float[Tensor, "m k w"]:
    """k centroids of each of m sets of n points, by Lloyd's steps from k of the points; all sets in step.

    A centroid that is nearest to no point moves to a point that is far from its own.
    """
    drawn = torch.Generator().manual_seed(0)
    sets, n, width = points.shape
    centroids = points[:, torch.randperm(n, generator=drawn)[:k]].clone()
    ones = torch.ones(sets, n)
    for _ in range(steps):
        place = nearest(points, centroids)
        sums = torch.zeros(sets, k, width).scatter_add_(1, place[:, :, None].expand(-1, -1, width), points)
        counts = torch.zeros(sets, k).scatter_add_(1, place, ones)
        centroids = torch.where(counts[:, :, None] > 0, sums / counts.clamp(min=1)[:, :, None], centroids)
        for which in (counts == 0).any(dim=1).nonzero()[:, 0].tolist():
            empty = (counts[which] == 0).nonzero()[:, 0]
            apart = (points[which] - centroids[which, place[which]]).square().sum(dim=1)
            centroids[which, empty] = points[which, apart.topk(len(empty)).indices]
    return centroids


def nearest(points: Float[Tensor, "m n w"], centroids: Float[Tensor, "m k w"]) -> Int[Tensor, "m n"]:
    """The nearest centroid of each point, in each of m sets."""
    if is_compiled() and points.dtype == torch.float32:
        from diml.search.codes import nearest_kernel  # loads numba

        return nearest_kernel.nearest(points, centroids)
    half = centroids.square().sum(dim=2)[:, None] / 2
    found = [(piece @ centroids.mT - half).argmax(dim=2) for piece in torch.split(points, HELD, dim=1)]
    return torch.cat(found, dim=1) if found else torch.zeros(len(points), 0, dtype=torch.int64)
