"""What a loss is: an objective on feature maps, and the specification under which a loss is registered by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from pytorch_metric_learning import distances
from torch import Tensor, nn

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning.losses.distances import StructuralDistance, StructuralSimilarity
from diml.learning.losses.triplets import Tuples
from diml.matching import Matcher

# The paper's matching in training: cross-correlation marginals, structural and pooled similarity weighted equally.
PAPER = Matcher("cross_correlation")

# The options of a loss, by name.
Options = Mapping[str, float]


class Objective(nn.Module):
    """What training minimises: `objective(maps, labels)` is the loss of a batch, a scalar in float32 or better.

    Parameters of its own, such as margins or proxies of the classes, are trained together with the network.
    """

    def forward(self, maps: FeatureMaps, labels: Int[Tensor, " n"]) -> Float[Tensor, ""]:
        raise NotImplementedError

    def describe(self) -> str:
        """One line for the record of a run: the loss, its options, and what it compares; by default the class."""
        return type(self).__name__


@dataclass(frozen=True)
class LossContext:
    """What a loss is built from.

    Attributes:
        structural: True if the loss compares matched maps, False if it compares pooled vectors.
        classes: number of training classes.
        dim: d, length of a part's vector.
        grid: rows and columns of the maps.
        matcher: settings of the matching; its weight is 0 for pooled vectors.
        options: a value for every option of the loss.
        weighted: True if the maps carry weights of their parts.
    """

    structural: bool
    classes: int
    dim: int
    grid: tuple[int, int]
    matcher: Matcher
    options: Options
    weighted: bool = False

    @property
    def width(self) -> int:
        """Length of an embedding and therefore of a proxy; a proxy of structural matching is itself a map."""
        return self.grid[0] * self.grid[1] * (self.dim + self.weighted) if self.structural else self.dim

    def similarity(self) -> Any:
        """The similarity for a loss of pytorch-metric-learning: structural, or the cosine of pooled vectors."""
        return self._structural(StructuralSimilarity) if self.structural else distances.CosineSimilarity()

    def distance(self, power: int = 1) -> Any:
        """The distance for a loss of pytorch-metric-learning: structural, or Euclidean between unit vectors."""
        if self.structural:
            return self._structural(StructuralDistance, power=power)
        return distances.LpDistance(power=power)

    def _structural(self, kind: Any, **settings: Any) -> Any:
        m = self.matcher
        how = m.marginals, m.weight, m.eps, m.tolerance, m.max_iterations
        return kind(self.grid, *how, dim=self.dim, weighted=self.weighted, **settings)


@dataclass(frozen=True)
class LossSpec:
    """A loss that can be requested by name, see `diml.learning.losses.registry`.

    Attributes:
        source: the publication.
        build: makes an `Objective`, or a loss of pytorch-metric-learning.
        options: the options of the loss and their defaults.
        structural: False for a loss that requires its own distance and therefore sees pooled vectors only.
        tuples: for a loss of pytorch-metric-learning, selects the triplets it sees; None for all of them.
    """

    source: str
    build: Callable[[LossContext], Any]
    options: Options = field(default_factory=dict)
    structural: bool = True
    tuples: Callable[[LossContext, Any], Tuples] | None = None


def require_positive(**numbers: float) -> None:
    """Raise a UsageError that names the first number that is not above 0.

    >>> require_positive(margin=0.2)
    """
    for name, number in numbers.items():
        if not number > 0:
            raise UsageError(f"expected {name} above 0, got {number}")
