"""Why this image rather than that one: the lead of one over the other, split among the parts of the query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.errors import UsageError
from diml.explanation.conditions import UNKNOWN, Conditions
from diml.explanation.contrast_words import contrast_words, lead_lines, lead_region_lines
from diml.explanation.files import write
from diml.explanation.images import FIRST, QUERY, SECOND, NamedImage
from diml.explanation.lead_regions import LeadRegion, lead_regions
from diml.explanation.numbers import cell_boxes, check_parts, chosen_cells, heat, one_pair, plain_box, scalar

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from diml.explanation.marks import Box
    from diml.matching import Match


@dataclass(frozen=True)
class PartLead:
    """What one part of the query contributes to its similarity with a, and with b.

    Attributes:
        cell: (row, column) of the part in the query's grid.
        box: `x0, y0, x1, y1` in pixels of the query; None where the geometry is unknown.
        a, b: what it contributes with a and with b, see `diml.explanation.heat`; may be negative.
    """

    cell: tuple[int, int]
    box: Box | None
    a: float
    b: float

    @property
    def difference(self) -> float:
        """`a - b`: what the part adds to the lead of a over b; negative where it favours b."""
        return self.a - self.b

    def to_dict(self) -> dict[str, Any]:
        box = plain_box(self.box)
        return {"cell": list(self.cell), "box": box, "a": self.a, "b": self.b, "difference": self.difference}


@dataclass(frozen=True, eq=False)
class Contrast:
    """One query compared with two images.

    Every contribution belongs to one part of the query, so the differences of the parts sum to the difference of the
    two similarities, up to the residual of models with a pooled vector of their own. `explain_contrast` makes one of
    three images.

    Args:
        match_a, match_b: of the query with a, and of the query with b; best from `model.explain`.
        query, a, b: the three images; without them documents say `Q.jpg`, `A.jpg` and `B.jpg`.
        conditions: what compared the images.

    Raises:
        UsageError: a match is not of one pair of images, or the two are not of the same query.

    >>> import torch
    >>> from diml.feature_maps import FeatureMaps
    >>> from diml.matching import Matcher
    >>> q, a, b = (FeatureMaps(torch.eye(4, dtype=torch.float64)[None, at], (1, 2)) for at in ([0, 1], [0, 1], [0, 2]))
    >>> contrast = Contrast(Matcher().tight().match(q, a), Matcher().tight().match(q, b))
    >>> round(contrast.difference, 3), [(part.cell, round(part.difference, 3)) for part in contrast.parts()]
    (0.5, [((0, 1), 0.5), ((0, 0), 0.0)])
    """

    match_a: Match
    match_b: Match
    query: NamedImage = QUERY
    a: NamedImage = FIRST
    b: NamedImage = SECOND
    conditions: Conditions = UNKNOWN

    def __post_init__(self) -> None:
        import torch

        a, b = one_pair(self.match_a).maps_a, one_pair(self.match_b).maps_a
        if a.grid != b.grid or not torch.equal(a.local, b.local):
            raise UsageError("expected two matches with the same image first, got matches of different queries")

    @property
    def similarity_a(self) -> float:
        return scalar(self.match_a.similarity)

    @property
    def similarity_b(self) -> float:
        return scalar(self.match_b.similarity)

    @property
    def difference(self) -> float:
        """`similarity_a - similarity_b`; negative where b is the more similar one."""
        return self.similarity_a - self.similarity_b

    @property
    def heats(self) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
        """What each part of the query contributes with a, and with b; both of the query's grid."""
        return heat(self.match_a)[0], heat(self.match_b)[0]

    @property
    def residual(self) -> float:
        """`difference` minus the sum of the parts' differences."""
        return self.difference - sum(part.difference for part in self._all_parts())

    @property
    def converged(self) -> bool:
        return bool(self.match_a.converged[0]) and bool(self.match_b.converged[0])

    def parts(self, n: int | None = None) -> list[PartLead]:
        """The n parts of the query that favour a most (all of them for None), largest difference first.

        For a part query only its chosen cells are listed.

        Raises:
            UsageError: `n` is below 1.
        """
        if n is not None:
            check_parts(n)
        cells = chosen_cells(self.match_a.maps_a, self.match_a.chosen)
        return [part for part in self._all_parts() if part.cell in cells][:n]

    def regions(self, n: int = 5) -> list[LeadRegion]:
        """At most n regions of the query: neighbouring parts that favour the same image, largest difference first.

        They are formed until they hold 70 % of what favours either image, see `diml.explanation.part_groups`; what the
        other parts add is `difference` less the residual and the sum of the regions' differences.

        Raises:
            UsageError: `n` is below 1.
        """
        check_parts(n)
        return lead_regions(self.match_a, self.match_b, n)

    def _all_parts(self) -> list[PartLead]:
        maps = self.match_a.maps_a
        boxes: Sequence[Box | None] = cell_boxes(maps) or [None] * maps.parts
        a, b = (values.flatten().tolist() for values in self.heats)
        leads = [PartLead(divmod(i, maps.grid[1]), boxes[i], a[i], b[i]) for i in range(maps.parts)]
        return sorted(leads, key=lambda lead: -lead.difference)

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to say, as plain Python values: what `diml explain --rather-than --json` prints.

        Returns:
            `query, a, b, similarity_a, similarity_b, difference, residual, regions, parts`, then `model, grid, weight,
            marginals, converged`, `part` of a part query, and `mass` below 1, `transport` and `bin_similarity`
            where it is not full. `parts` holds all parts of the query, the
            largest `difference` first: `cell` is `[row, column]` from 0, `box` `[x0, y0, x1, y1]` in pixels of the
            query or None, `a` and `b` what the part contributes to either similarity, `difference` is `a - b`. The
            differences and `residual` sum to `difference`.
        """
        return {
            "query": self.query.name,
            "a": self.a.name,
            "b": self.b.name,
            "similarity_a": self.similarity_a,
            "similarity_b": self.similarity_b,
            "difference": self.difference,
            "residual": self.residual,
            "regions": [region.to_dict() for region in self.regions()],
            "parts": [part.to_dict() for part in self._all_parts()],
            "model": self.conditions.model,
            "grid": list(self.match_a.maps_a.grid),
            "weight": float(self.match_a.weight),
            "marginals": self.conditions.marginals,
            "converged": self.converged,
            **self.conditions.unusual(),
        }

    def describe(self, parts: int | None = None) -> str:
        """Which image leads and by how much, and a sentence for each region of the query that favours one of them.

        Args:
            parts: list so many of the parts that favour a most in place of the regions, from 1.

        Raises:
            UsageError: `parts` is below 1.
        """
        from diml.data import printable

        named = [f"A: {printable(self.a.name)}", f"B: {printable(self.b.name)}"]
        if parts is None:
            return "\n".join([*named, *contrast_words(self).sentences, "", *lead_region_lines(self, self.regions())])
        shown = self.parts(parts)
        return "\n".join([*named, *contrast_words(self, shown).sentences, "", *lead_lines(shown)])

    def draw(self, path: str | os.PathLike[str], parts: int | None = None) -> None:
        """Draw the query between the two images, and what its parts contribute with each; see `contrast_figure`.

        Args:
            path: .png, .svg or .pdf.
            parts: draw so many of the parts that favour a most in place of the regions, from 1; 16 at most.

        Raises:
            UsageError: `parts` is below 1, another ending, or a folder that does not exist.
            ImageError: an image cannot be read.
            DimlError: the file cannot be written.
        """
        from diml.explanation.drawing import contrast_figure

        write(path, lambda: contrast_figure(self, parts))
