"""The settings of a matching, checked: what `Matcher`, the dispatch to backends and the reference have in common."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from diml.errors import UsageError
from diml.matching.defaults import BIN_SIMILARITY, EPS, MAX_ITERATIONS, SCHEME, TOLERANCE, TRANSPORT, WEIGHT
from diml.matching.dustbin import check_bin_similarity
from diml.matching.marginals import Marginal, check_given, check_scheme
from diml.matching.partial import check_mass
from diml.matching.transport import check_limits

# What `MatchSettings.transport` can be. A mass below 1 makes a full transport partial.
TRANSPORTS = ("full", "one-sided", "dustbin")


@dataclass(frozen=True, eq=False)
class MatchSettings:
    """The settings of a matching; their meaning is described at `Matcher`.

    Raises:
        UsageError: an unknown scheme, or a number out of its range.
    """

    marginals: str | Marginal | tuple[Tensor, Tensor] = SCHEME
    weight: float = WEIGHT
    eps: float = EPS
    tolerance: float = TOLERANCE
    max_iterations: int = MAX_ITERATIONS
    mass: float = 1.0
    transport: str = TRANSPORT
    bin_similarity: float = BIN_SIMILARITY

    def __post_init__(self) -> None:
        if isinstance(self.marginals, str):
            check_scheme(self.marginals)
        elif not callable(self.marginals):
            check_given(self.marginals)
        if not 0 <= self.weight <= 1:
            raise UsageError(f"expected weight from 0 (pooled only) to 1 (structural only), got {self.weight}")
        check_limits(self.eps, self.tolerance, self.max_iterations)
        check_mass(self.mass)
        if self.transport not in TRANSPORTS:
            raise UsageError(f"expected transport to be one of {', '.join(TRANSPORTS)}, got {self.transport!r}")
        if self.mass < 1 and self.transport != "full":
            raise UsageError(
                f"expected a mass below 1 with transport 'full' only, got mass {self.mass} with {self.transport!r}; "
                "leave one of them out"
            )
        check_bin_similarity(self.bin_similarity)

    @property
    def symmetric(self) -> bool:
        """Whether a compared with b gives the number that b compared with a gives."""
        return self.transport != "one-sided" and not isinstance(self.marginals, tuple)

    def replace(self, **changes: object) -> Self:
        """The same settings with some of them changed.

        A partial transport is a full one of a smaller mass: a mass that is given takes the place of another transport,
        and another transport that of a mass below 1, unless both are given.
        """
        if "mass" in changes and "transport" not in changes:
            changes["transport"] = "full"
        if changes.get("transport", "full") != "full" and "mass" not in changes:
            changes["mass"] = 1.0
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def of_images(self, a: slice, b: slice) -> Self:
        """The settings for some images of each side: weights given per image are sliced like their maps."""
        if not isinstance(self.marginals, tuple):
            return self
        mu_a, mu_b = self.marginals
        return self.replace(marginals=(mu_a[a], mu_b[b]))
