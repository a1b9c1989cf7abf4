"""Structural matching as two distances for pytorch-metric-learning: for any loss or miner that accepts a distance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from pytorch_metric_learning import distances
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning.losses.pair_measure import DISTANCE, SIMILARITY, CosineFunction, PairMeasure
from diml.matching import Matcher, UnitMaps, prepare
from diml.matching.defaults import BIN_SIMILARITY, EPS, MAX_ITERATIONS, TOLERANCE, TRANSPORT, WEIGHT
from diml.matching.kernels import as_int64, checked_indices


def flattened(maps: FeatureMaps) -> Float[Tensor, "n width"]:
    """(n, r * d) maps flattened part by part, then a model's own pooled vector (d) and the parts' weights (r), if any.

    >>> import torch
    >>> flattened(FeatureMaps(torch.zeros(5, 16, 8), grid=(4, 4))).shape
    torch.Size([5, 128])
    """
    local = maps.local.flatten(1)
    more = [each.to(local.dtype) for each in (maps.own_pooled, maps.weights) if each is not None]
    return torch.cat([local, *more], dim=1) if more else local


class _StructuralBase(distances.BaseDistance):
    formula: CosineFunction
    inverted: bool

    def __init__(
        self,
        grid: tuple[int, int] = (4, 4),
        marginals: str = "cross_correlation",
        weight: float = WEIGHT,
        eps: float = EPS,
        tolerance: float = TOLERANCE,
        max_iterations: int = MAX_ITERATIONS,
        *,
        dim: int | None = None,
        weighted: bool = False,
        transport: str = TRANSPORT,
        bin_similarity: float | str = BIN_SIMILARITY,
        **settings: Any,
    ) -> None:
        super().__init__(normalize_embeddings=False, is_inverted=self.inverted, **settings)
        if min(grid) < 1:
            raise UsageError(f"expected a grid of at least one row and one column, got {grid}")
        self.grid = grid
        self.dim = dim
        self.weighted = weighted
        learned = isinstance(bin_similarity, str)
        if learned and bin_similarity != "learned":
            raise UsageError(f"expected bin_similarity to be a number or 'learned', got {bin_similarity!r}")
        if learned and transport != "dustbin":
            raise UsageError(f"expected the transport 'dustbin' for a learned bin_similarity, got {transport!r}")
        price = BIN_SIMILARITY if learned else float(bin_similarity)
        # The learned price is tanh of a parameter, so that it stays within -1..1.
        self.bin = torch.nn.Parameter(torch.tensor(price).atanh()) if learned else None
        matcher = Matcher(marginals, weight, eps, tolerance, max_iterations, transport=transport, bin_similarity=price)
        self.measure = PairMeasure(matcher, self.formula, self._learned_price if learned else None)
        self._asked: tuple[Tensor, Tensor] | None = None

    @property
    def bin_similarity(self) -> float:
        """The present price of what stays unmatched, -1..1, for `Matcher.bin_similarity`."""
        return self.measure.matcher.bin_similarity if self.bin is None else float(self._learned_price().detach())

    def _learned_price(self) -> Tensor:
        assert self.bin is not None
        return self.bin.tanh().clamp(-0.99, 0.99)

    def units(self, embeddings: Float[Tensor, "n width"]) -> UnitMaps:
        """The unit rows of flattened maps.

        Raises:
            UsageError: the width is not a multiple of the number of parts.
        """
        parts, width = self.grid[0] * self.grid[1], embeddings.shape[1]
        weights = None
        if self.weighted:
            # A proxy may have moved below 0, where a part counts nothing.
            embeddings, weights = embeddings[:, :-parts], embeddings[:, -parts:].clamp(min=0)
            width -= parts
        if self.dim and width == (parts + 1) * self.dim:
            local, pooled = embeddings[:, : -self.dim], embeddings[:, -self.dim :]
            maps = FeatureMaps(local.reshape(-1, parts, self.dim), self.grid, pooled, weights=weights)
            return prepare(maps)
        if width <= 0 or width % parts or (self.dim and width != parts * self.dim):
            also = f", and {parts} weights of parts" if self.weighted else ""
            raise UsageError(
                f"expected flattened maps of {parts} x {self.dim or 'd'} numbers for a grid of "
                f"{self.grid[0]}x{self.grid[1]}{also}, got {width + parts * self.weighted}; "
                "use diml.learning.flattened(maps)"
            )
        return prepare(FeatureMaps(embeddings.reshape(-1, parts, width // parts), self.grid, weights=weights))

    @contextmanager
    def only(self, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> Iterator[None]:
        """Inside this context, only the pairs (i_k, j_k) of a matrix are matched; its other entries are 0.

        For losses that read only given pairs or triplets: mined triplets of 112 images need 224 pairs, while the matrix
        has 12,544.

        Args:
            i, j: (p,) row and column indices of the matrix.

        Raises:
            UsageError: lists of different lengths, or values that are not whole numbers.
            IndexError: an index is out of range, when the matrix is computed.
        """
        if len(i) != len(j):
            raise UsageError(f"expected as many i as j, got {len(i)} and {len(j)}")
        self._asked = as_int64(i), as_int64(j)
        try:
            yield
        finally:
            self._asked = None

    def compute_mat(
        self, query_emb: Float[Tensor, "n width"], ref_emb: Float[Tensor, "m width"] | None
    ) -> Float[Tensor, "n m"]:
        """(n, m) values of all pairs; within one set, each unordered pair is solved once."""
        a = self.units(query_emb)
        b = a if ref_emb is None or ref_emb is query_emb else self.units(ref_emb)
        if self._asked is not None:
            i, j = (checked_indices(index, n) for index, n in zip(self._asked, (len(a), len(b)), strict=True))
            asked = torch.unique(i * len(b) + j)
            if 4 * len(asked) < len(a) * len(b):  # above that, one large product is faster than many small ones
                return self._sparse(a, b, asked)
        return self.measure.matrix(a, b)

    def _sparse(self, a: UnitMaps, b: UnitMaps, asked: Tensor) -> Tensor:
        values = self.measure.pairs(a, b, asked // len(b), asked % len(b))
        return values.new_zeros(len(a) * len(b)).index_put((asked,), values).view(len(a), len(b))

    def pairwise_distance(
        self, query_emb: Float[Tensor, "n width"], ref_emb: Float[Tensor, "n width"]
    ) -> Float[Tensor, " n"]:
        """(n,) values of the pairs (query_k, ref_k)."""
        each = torch.arange(len(query_emb), device=query_emb.device)
        return self.measure.pairs(self.units(query_emb), self.units(ref_emb), each, each)


class StructuralSimilarity(_StructuralBase):
    """`(1 - w) p + w sum_ij T_ij S_ij`, -1..1, larger is more alike (`is_inverted`; Zhao et al. 2021 with w = 1/2).

    Embeddings are feature maps flattened part by part, (N, r * d), not normalised: `maps.local.flatten(1)`.
    The plan carries no gradient, and half precision is computed in float32.

    Args:
        grid: rows and columns of the maps, r = rows * columns.
        marginals: a scheme in `diml.matching.MARGINALS`.
        weight: w, the share of the matched parts; 0 gives the cosine of the pooled vectors.
        eps: strength of the entropy term of the plan.
        tolerance: L1 error of the marginals at which a pair stops.
        max_iterations: iterations after which an unconverged pair stops.
        dim: d; if given, embeddings of (r + 1) * d numbers are taken to end in a model's own pooled vector.
        weighted: embeddings have r more numbers, the weights of the parts; proxies then have weights of their own.
        transport: "full", or "dustbin" for parts that may stay unmatched.
        bin_similarity: the price of what stays unmatched, a number from -1 to below 1; or "learned", which starts at
            0.3 and is the only parameter of this distance (as the bin of SuperGlue, Sarlin et al. 2020). Search with
            what was learned: `model.with_matcher(transport="dustbin", bin_similarity=distance.bin_similarity)`.
        settings: passed to `BaseDistance`, such as `power`.

    Raises:
        UsageError: a setting is out of its range; when called, the width is not a multiple of r.

    >>> import torch
    >>> from pytorch_metric_learning.losses import MultiSimilarityLoss
    >>> loss = MultiSimilarityLoss(distance=StructuralSimilarity(grid=(2, 2)))
    >>> maps = torch.randn(6, 4 * 8, requires_grad=True)
    >>> loss(maps, torch.tensor([0, 0, 1, 1, 2, 2])).backward()
    >>> maps.grad.shape
    torch.Size([6, 32])
    """

    formula, inverted = SIMILARITY, True


class StructuralDistance(_StructuralBase):
    """`(1 - w) sqrt(2 - 2 p + 1e-6) + w sum_ij T_ij sqrt(2 - 2 S_ij + 1e-6)`, 0.001..2, smaller is more alike.

    The distance of the paper's margin loss (Zhao et al. 2021 with w = 1/2). Everything else is as in
    `StructuralSimilarity`. The gradient is finite also for an image compared with itself.

    >>> import torch
    >>> distance = StructuralDistance(grid=(1, 2))
    >>> distance(torch.eye(4).reshape(2, 8)).round(decimals=2)
    tensor([[0.0000, 1.4100],
            [1.4100, 0.0000]])
    """

    formula, inverted = DISTANCE, False
