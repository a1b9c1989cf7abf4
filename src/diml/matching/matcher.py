"""The matcher: how two feature maps are compared, and what can be asked of a comparison.

Everything rests on one primitive, the scores of a list of pairs of images: `Matcher.pairs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.matching import reference
from diml.matching.dispatch import Dispatch
from diml.matching.kernels import PartWeights, as_int64
from diml.matching.kernels.coded_maps import CodedMaps
from diml.matching.match import Match
from diml.matching.pair_lists import SIDE, Tile, all_pairs, pair_lists, tile_slices, unordered_pairs
from diml.matching.score import PairScores
from diml.matching.settings import MatchSettings
from diml.matching.transport import TransportPlan
from diml.matching.unit_maps import UnitMaps, both

Maps = FeatureMaps | UnitMaps


@dataclass(frozen=True, eq=False)
class Matcher(MatchSettings):
    """How two feature maps are compared: `similarity = (1 - weight) pooled + weight structural`.

    Args:
        marginals: name of a scheme in `MARGINALS`, a function from correlations (..., r) to weights (..., r), or
            weights per image as a pair of tensors (n_a, r_a), (n_b, r_b). Part weights of the maps multiply a scheme.
        weight: share of the structural similarity, 0..1.
        eps: strength of the entropy, 1e-9 to 1e9 (see `transport_plan`). Below 0.01, few pairs of a ranking converge,
            and their scores are inexact: use `tight()` there.
        tolerance: L1 error of the marginals at which a pair stops: 1e-3 for ranking, 1e-6 for numbers that are shown.
            Below 1e-5 the reference finishes with Newton's steps.
        max_iterations: where a pair that has not converged stops.
        mass: share of the mass that is moved, above 0 and up to 1. Below 1, parts without a counterpart need not be
            matched, and the structural similarity is the mean over what is (see `partial_plan`). Only the reference
            computes this, which is slower.
        transport: "full" matches all parts; "one-sided" all parts of a, with those of b as they are needed, and is not
            symmetric (see `one_sided_plan`); "dustbin" leaves what is less alike than `bin_similarity` (see
            `dustbin_plan`).
        bin_similarity: the price of a dustbin, at least -1 and below 1: what stays unmatched counts as if it were
            matched with this similarity.

    Raises:
        UsageError: an unknown scheme or transport, or a number out of its range.

    >>> import torch
    >>> maps = FeatureMaps(torch.eye(4).reshape(1, 4, 4), grid=(2, 2))
    >>> Matcher().similarity(maps, maps).shape
    torch.Size([1, 1])
    """

    def tight(self) -> Matcher:
        """For numbers that are shown: tolerance 1e-6 (use it with float64 maps), and enough iterations to reach it."""
        return self.replace(tolerance=min(self.tolerance, 1e-6), max_iterations=max(self.max_iterations, 10_000))

    def match(self, maps_a: FeatureMaps, maps_b: FeatureMaps) -> Match:
        """Match image k of a with image k of b, keeping the plans.

        Raises:
            UsageError: different numbers of images, or another dim.
        """
        if len(maps_a) != len(maps_b):
            raise UsageError(
                f"expected as many images of a as of b, to be matched one by one, got {len(maps_a)} and "
                f"{len(maps_b)}; use similarity() for all pairs"
            )
        a, b = both(maps_a, maps_b)
        pairs = torch.arange(len(maps_a), device=maps_a.device)
        plan, *marginals = reference.pair_plans(self, a, b, pairs, pairs)
        return Match(
            maps_a,
            maps_b,
            plan,
            self.weight,
            marginals=(marginals[0], marginals[1]),
            mass=self.mass,
            bin_similarity=self.bin_similarity if self.transport == "dustbin" else None,
        )

    def pairs(self, maps_a: Maps, maps_b: Maps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> PairScores:
        """Score the pairs (a[i_k], b[j_k]).

        Differentiable with respect to the maps, the plan held fixed. Without gradients, memory beyond the inputs and
        the scores does not grow with the number of pairs.

        >>> import torch
        >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
        >>> Matcher().pairs(maps, maps, torch.tensor([0, 0]), torch.tensor([0, 1])).pooled.round()
        tensor([1., 0.])
        """
        a, b = both(maps_a, maps_b)
        return Dispatch.of(self, a, b).pairs(a, b, *pair_lists(i, j, a.device))

    @torch.no_grad()
    def plans(self, maps_a: Maps, maps_b: Maps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> TransportPlan:
        """The plans of the pairs (a[i_k], b[j_k]), (p, r_a, r_b), without a gradient: losses hold them fixed.

        >>> import torch
        >>> maps = FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))
        >>> Matcher().plans(maps, maps, torch.tensor([0]), torch.tensor([0])).plan.sum(dim=2)
        tensor([[0.5000, 0.5000]])
        """
        a, b = both(maps_a, maps_b)
        return Dispatch.of(self, a, b).plans(a, b, *pair_lists(i, j, a.device))

    @torch.no_grad()
    def plans_of(
        self,
        products: Float[Tensor, "n rows_a m rows_b"],
        i: Int[Tensor, " p"],
        j: Int[Tensor, " p"],
        part_weights: tuple[Float[Tensor, "n r_a"], Float[Tensor, "m r_b"]] | None = None,
    ) -> TransportPlan:
        """As `plans`, from the products of the unit rows of n images with those of m.

        A loss over all pairs of a batch has computed them already, by one matrix product.

        Args:
            products: (n, r_a + 1, m, r_b + 1); the last row of each side is the pooled one, as in `UnitMaps`.
            i, j: (p,) pairs of the n and m images, not negative.
            part_weights: of the n and the m images, each row summing to 1; None if all parts count the same.

        >>> import torch
        >>> from diml.matching import prepare
        >>> rows = prepare(FeatureMaps(torch.eye(4).reshape(2, 2, 4), grid=(1, 2))).rows
        >>> one, products = torch.tensor([0]), torch.einsum("nkd,mld->nkml", rows, rows)
        >>> Matcher().plans_of(products, one, one).plan.sum(dim=2)
        tensor([[0.5000, 0.5000]])
        """
        parts_a, parts_b = products.shape[1] - 1, products.shape[3] - 1
        dispatch = Dispatch.of_parts(self, parts_a, parts_b, products.dtype, products.device)
        weights = None if part_weights is None else PartWeights(*(weights.detach() for weights in part_weights))
        return dispatch.product_plans(products, *pair_lists(i, j, products.device), weights)

    def similarity(self, maps_a: Maps, maps_b: Maps) -> Float[Tensor, "n m"]:
        """(n, m) similarity of all pairs; of a set with itself each unordered pair is solved once.

        A one-sided transport, and weights given per image, are not symmetric: all pairs are solved then.
        """
        a, b = both(maps_a, maps_b)
        n, m = len(a), len(b)
        dispatch = Dispatch.of(self, a, b)
        if dispatch.backend is not None:
            matrix = torch.empty(n, m, dtype=a.dtype, device=a.device)
            symmetric = self._symmetric(a, b)
            for tile in self._tiles(dispatch, a, b, SIDE):
                matrix[tile.rows, tile.columns] = tile.similarity
                if symmetric:
                    matrix[tile.columns, tile.rows] = tile.similarity.mT
            return matrix
        symmetric = self._symmetric(a, b)
        lists = unordered_pairs(n, a.device) if symmetric else all_pairs(n, m, a.device)
        scores = [dispatch.pairs(a, b, i, j).similarity for i, j in lists]
        flat = torch.cat(scores) if scores else a.rows.new_zeros(0)
        if not symmetric:
            return flat.reshape(n, m)
        i, j = torch.triu_indices(n, n, device=flat.device)
        matrix = flat.new_zeros(n, n).index_put((i, j), flat)
        return matrix + matrix.triu(1).mT

    def tiles(self, maps_a: Maps, maps_b: Maps, side: int = SIDE) -> Iterator[Tile]:
        """The similarities of all pairs as a stream of tiles, so that the whole matrix is never held.

        Of a set with itself only the tiles on and above the diagonal are computed: each unordered pair is solved once,
        with the lower index first, and tiles above the diagonal stand for two. A one-sided transport is an exception,
        as are weights given per image, which may have others on either side: all tiles are computed then.
        """
        a, b = both(maps_a, maps_b)
        return self._tiles(Dispatch.of(self, a, b), a, b, side)

    def _tiles(self, dispatch: Dispatch, a: UnitMaps, b: UnitMaps, side: int) -> Iterator[Tile]:
        symmetric = self._symmetric(a, b)
        for rows, columns in tile_slices(len(a), len(b), side, upper=symmetric):
            piece_a = a[rows]
            piece_b = piece_a if symmetric and rows == columns else b[columns]
            yield Tile(rows, columns, dispatch.of_images(rows, columns).matrix(piece_a, piece_b))

    def _symmetric(self, a: UnitMaps, b: UnitMaps) -> bool:
        """Whether the score of (i, j) is that of (j, i)."""
        return b is a and self.symmetric

    def bounds(
        self, maps_a: Maps, maps_b: Maps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]] | None:
        """Upper bounds of the structural similarity, and the pooled similarity, of pairs.

        None if the backend in use cannot compute them cheaply. See `diml.matching.top_k` for the proof.
        """
        a, b = both(maps_a, maps_b)
        return Dispatch.of(self, a, b).bounds(a, b, *pair_lists(i, j, a.device))

    def rerank(
        self, query_maps: Maps, gallery_maps: Maps | CodedMaps, shortlist: Int[Tensor, "q k"]
    ) -> Float[Tensor, "q k"]:
        """Similarity of every query with the gallery images on its shortlist, in the shortlist's order.

        Args:
            query_maps: of q images.
            gallery_maps: of n images; codes of maps are read as they are, where a kernel can.
            shortlist: (q, K) indices into the gallery.
        """
        check_shortlist(shortlist, len(query_maps))
        a, b = both(query_maps, gallery_maps)
        return Dispatch.of(self, a, b).shortlists(a, b, as_int64(shortlist).to(a.device))


def check_shortlist(shortlist: Tensor, queries: int) -> None:
    """Check the shape of a shortlist.

    Raises:
        UsageError: it is not (queries, K).
    """
    if shortlist.ndim != 2 or len(shortlist) != queries:
        raise UsageError(
            f"expected a shortlist of shape (queries, K) for {queries} queries, got {tuple(shortlist.shape)}"
        )
