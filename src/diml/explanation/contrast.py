"""Why this image rather than that one: the lead of one over the other, taken apart by the parts of the query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.errors import UsageError
from diml.explanation.numbers import cell_boxes, chosen_cells, heat, one_pair, plain_box, scalar

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from diml.explanation.marks import Box
    from diml.matching import Match


@dataclass(frozen=True)
class PartLead:
    """What one part of the query brings to its similarity with a, and with b.

    Attributes:
        cell: (row, column) of the part in the query's grid.
        box: `x0, y0, x1, y1` in pixels of the query; None where the geometry is unknown.
        a, b: the sum of the contributions of all pairs that the part is in, with a and with b; may be negative.
    """

    cell: tuple[int, int]
    box: Box | None
    a: float
    b: float

    @property
    def difference(self) -> float:
        """`a - b`: what the part adds to the lead of a over b; negative where it speaks for b."""
        return self.a - self.b


@dataclass(frozen=True, eq=False)
class Contrast:
    """The matches of one query with two images.

    Every contribution belongs to one part of the query, so the differences of the parts sum to the difference of the
    two similarities, up to the residual that a model with a pooled vector of its own has.

    Args:
        match_a, match_b: of the query with a, and of the query with b; best from `model.explain`.

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

    def __post_init__(self) -> None:
        import torch

        a, b = one_pair(self.match_a).maps_a, one_pair(self.match_b).maps_a
        if a.grid != b.grid or not torch.equal(a.local, b.local):
            raise UsageError("two matches of different queries came; expected the same image first in both")

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
        """What each part of the query brings with a, and with b; both of the query's grid."""
        return heat(self.match_a)[0], heat(self.match_b)[0]

    def parts(self, n: int | None = None, chosen: Sequence[int] | None = None) -> list[PartLead]:
        """The n parts of the query that speak most for a (all of them for None), by difference, largest first.

        Args:
            chosen: for a part query, the numbers of the cells that were chosen, row by row; no others are looked at.
        """
        maps = self.match_a.maps_a
        boxes, cells = cell_boxes(maps), chosen_cells(maps, chosen)
        a, b = (values.flatten().tolist() for values in self.heats)
        leads = [PartLead(divmod(i, maps.grid[1]), boxes[i] if boxes else None, a[i], b[i]) for i in range(len(a))]
        return sorted((lead for lead in leads if lead.cell in cells), key=lambda lead: -lead.difference)[:n]

    @property
    def residual(self) -> float:
        """`difference` minus the sum of the parts' differences."""
        return self.difference - sum(part.difference for part in self.parts())


def contrast_document(
    contrast: Contrast,
    query: str = "Q.jpg",
    a: str = "A.jpg",
    b: str = "B.jpg",
    model: str = "",
    marginals: str = "",
) -> dict[str, Any]:
    """Everything there is to say about the lead of one image over another, ready for `json.dumps`.

    Returns:
        `query, a, b, similarity_a, similarity_b, difference, residual, parts`, then `model, grid, weight, marginals,
        converged`. `parts` holds all parts of the query, the largest `difference` first: `cell` is `[row, column]` from
        0, `box` `[x0, y0, x1, y1]` in pixels of the query or None, `a` and `b` what the part brings to either
        similarity, `difference` is `a - b`. The differences and `residual` sum to `difference`.
    """
    match = contrast.match_a
    return {
        "query": query,
        "a": a,
        "b": b,
        "similarity_a": contrast.similarity_a,
        "similarity_b": contrast.similarity_b,
        "difference": contrast.difference,
        "residual": contrast.residual,
        "parts": [_entry(part) for part in contrast.parts()],
        "model": model,
        "grid": list(match.maps_a.grid),
        "weight": float(match.weight),
        "marginals": marginals,
        "converged": bool(match.converged[0]) and bool(contrast.match_b.converged[0]),
    }


def _entry(part: PartLead) -> dict[str, Any]:
    box = plain_box(part.box)
    return {"cell": list(part.cell), "box": box, "a": part.a, "b": part.b, "difference": part.difference}
