"""The choice between a compiled backend and the reference, made once a call.

A backend leaves a pair to the reference where its costs are too wide for float32: `iterations` is -1 there.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diml.matching import reference
from diml.matching.kernels import (
    Backend,
    BackendPlans,
    BackendScores,
    BackendSettings,
    BoundBackend,
    PartWeights,
    PlanBackend,
    ShortlistBackend,
    choose_backend,
)
from diml.matching.marginals import given
from diml.matching.pair_lists import all_pairs
from diml.matching.score import PairScores, combine
from diml.matching.settings import MatchSettings
from diml.matching.transport import TransportPlan
from diml.matching.unit_maps import UnitMaps, weights_of

Solved = TypeVar("Solved", PairScores, TransportPlan)


@dataclass(frozen=True, eq=False)
class Dispatch:
    """Solves pairs by a backend where there is one, and by the reference otherwise.

    Attributes:
        settings: of the matching.
        backend: takes all pairs first; None leaves them to the reference.
    """

    settings: MatchSettings
    backend: Backend | None

    @classmethod
    def of(cls, settings: MatchSettings, a: UnitMaps, b: UnitMaps) -> Self:
        """For images of a with images of b, or with slices of them."""
        wants_gradient = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
        if wants_gradient or a.device != b.device:
            return cls(settings, None)
        return cls.of_parts(settings, a.parts, b.parts, a.dtype, a.device)

    @classmethod
    def of_parts(
        cls, settings: MatchSettings, parts_a: int, parts_b: int, dtype: torch.dtype, device: torch.device
    ) -> Self:
        """For images of so many parts, without a gradient."""
        if callable(settings.marginals) or settings.mass < 1:
            return cls(settings, None)
        backend = choose_backend(device)
        if backend is not None and backend.unsupported(parts_a, parts_b, dtype, _backend_settings(settings)):
            backend = None
        return cls(settings, backend)

    def of_images(self, a: slice, b: slice) -> Self:
        """The same for some images of each side; see `MatchSettings.of_images`."""
        return dataclasses.replace(self, settings=self.settings.of_images(a, b))

    @property
    def backend_settings(self) -> BackendSettings:
        return _backend_settings(self.settings)

    def pairs(self, a: UnitMaps, b: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> PairScores:
        """Scores of the pairs (a[i_k], b[j_k])."""
        if self.backend is None:
            return reference.pair_scores(self.settings, a, b, i, j)
        how = self.backend_settings, self._weights(a, b)
        return self._completed(self.backend.score_pairs(a.uncoded, b.stored, i, j, *how), a, b, i, j)

    def shortlists(self, a: UnitMaps, b: UnitMaps, shortlist: Int[Tensor, "q k"]) -> Float[Tensor, "q k"]:
        """Similarities of each image of a with the images of b on its shortlist."""
        i = torch.arange(len(a), device=a.device).repeat_interleave(shortlist.shape[1])
        j = shortlist.reshape(-1)
        if not isinstance(self.backend, ShortlistBackend):
            return self.pairs(a, b, i, j).similarity.reshape(shortlist.shape)
        how = self.backend_settings, self._weights(a, b)
        scores = self.backend.score_shortlists(a.uncoded, b.uncoded, shortlist, *how)
        return self._completed(_flat(scores), a, b, i, j).similarity.reshape(shortlist.shape)

    def matrix(self, a: UnitMaps, b: UnitMaps) -> Float[Tensor, "n m"]:
        """Similarities of all pairs; symmetric where b is a, unless the settings are not."""
        n, m = len(a), len(b)
        if b is a and not self.settings.symmetric:
            b = b[:]  # other objects, so that nothing is mirrored
        if self.backend is not None:
            scores = self.backend.score_matrix(a.uncoded, b.uncoded, self.backend_settings, self._weights(a, b))
            at = torch.arange(n * m, device=a.device)
            return self._completed(_flat(scores), a, b, at // m, at % m).similarity.reshape(n, m)
        [(i, j)] = all_pairs(n, m, a.device, block=n)
        similarity = reference.pair_scores(self.settings, a, b, i, j).similarity.reshape(n, m)
        return similarity.triu() + similarity.triu(1).mT if b is a else similarity

    def plans(self, a: UnitMaps, b: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]) -> TransportPlan:
        """Plans of the pairs (a[i_k], b[j_k])."""
        if not isinstance(self.backend, PlanBackend):
            return reference.pair_plans(self.settings, a, b, i, j).plan
        how = self.backend_settings, self._weights(a, b)
        found = _transport_plan(self.backend.plan_pairs(a.uncoded, b.uncoded, i, j, *how))
        if len(left := _left(found)):
            _fill(found, left, reference.pair_plans(self.settings, a, b, i[left], j[left]).plan)
        return found

    def product_plans(
        self,
        products: Float[Tensor, "n rows_a m rows_b"],
        i: Int[Tensor, " p"],
        j: Int[Tensor, " p"],
        part_weights: PartWeights | None = None,
    ) -> TransportPlan:
        """As `plans`, from the products of the unit rows."""
        if not isinstance(self.backend, PlanBackend):
            return reference.product_plans(self.settings, products, i, j, part_weights)
        n, rows_a, m, rows_b = products.shape
        how = self.backend_settings, self._marginals((n, rows_a - 1), (m, rows_b - 1)) or _in_float32(part_weights)
        found = _transport_plan(self.backend.plan_products(products, i, j, *how))
        if len(left := _left(found)):
            rest = reference.product_plans(self.settings, products, i[left], j[left], part_weights)
            _fill(found, left, rest)
        return found

    def bounds(
        self, a: UnitMaps, b: UnitMaps, i: Int[Tensor, " p"], j: Int[Tensor, " p"]
    ) -> tuple[Float[Tensor, " p"], Float[Tensor, " p"]] | None:
        """Upper bounds of the structural similarity, and the pooled similarity; None without a cheap way to them."""
        if not isinstance(self.backend, BoundBackend):
            return None
        return self.backend.bound_pairs(a.uncoded, b.stored, i, j, self.backend_settings, self._weights(a, b))

    def _weights(self, a: UnitMaps, b: UnitMaps) -> PartWeights | None:
        """What the backend multiplies a scheme with: marginals that the caller gives, or the maps' part weights."""
        return self._marginals((len(a), a.parts), (len(b), b.parts)) or _in_float32(weights_of(a, b))

    def _marginals(self, a: tuple[int, int], b: tuple[int, int]) -> PartWeights | None:
        if not isinstance(self.settings.marginals, tuple):
            return None
        mu_a, mu_b = (mu.detach().float() for mu in self.settings.marginals)
        return PartWeights(given(mu_a, *a, "a"), given(mu_b, *b, "b"))

    def _completed(self, scores: BackendScores, a: UnitMaps, b: UnitMaps, i: Tensor, j: Tensor) -> PairScores:
        similarity = combine(scores.pooled, scores.structural, self.settings.weight)
        found = PairScores(similarity, scores.structural, scores.pooled, scores.converged, scores.iterations.long())
        if len(left := _left(found)):
            _fill(found, left, reference.pair_scores(self.settings, a, b, i[left], j[left]))
        return found


def _backend_settings(settings: MatchSettings) -> BackendSettings:
    # Marginals that the caller gives are weights of a scheme that adds nothing to them.
    scheme = settings.marginals if isinstance(settings.marginals, str) else "uniform"
    return BackendSettings(
        scheme,
        settings.eps,
        settings.tolerance,
        settings.max_iterations,
        settings.transport,
        settings.bin_similarity,
    )


def _in_float32(weights: PartWeights | None) -> PartWeights | None:
    return None if weights is None else PartWeights(weights.a.float(), weights.b.float())


def _flat(scores: BackendScores) -> BackendScores:
    return BackendScores(*(score.reshape(-1) for score in scores))


def _transport_plan(plans: BackendPlans) -> TransportPlan:
    return TransportPlan(plans.plan, plans.iterations.long(), plans.error, plans.converged)


def _left(found: PairScores | TransportPlan) -> Int[Tensor, " l"]:
    """The pairs that a backend left to the reference."""
    return (found.iterations < 0).nonzero()[:, 0]


def _fill(found: Solved, where: Tensor, solved: Solved) -> None:
    for field in dataclasses.fields(found):
        getattr(found, field.name)[where] = getattr(solved, field.name)
