"""Why this image rather than that one: the lead of one over the other, split among the parts of the query."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diml.errors import UsageError
from diml.explanation.conditions import UNKNOWN, Conditions
from diml.explanation.files import write
from diml.explanation.images import FIRST, QUERY, SECOND, NamedImage
from diml.explanation.numbers import cell_boxes, check_parts, chosen_cells, heat, one_pair, plain_box, scalar
from diml.explanation.words import NOTICEABLE, Words, digits, number, place, residual_sentence, signed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from diml.explanation.marks import Box
    from diml.matching import Match

CONTRAST_HOW = (
    "A part of the query favours A by what it contributes to the similarity with A, minus what it contributes to the "
    "similarity with B."
)


@dataclass(frozen=True)
class PartLead:
    """What one part of the query contributes to its similarity with a, and with b.

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

    def _all_parts(self) -> list[PartLead]:
        maps = self.match_a.maps_a
        boxes: Sequence[Box | None] = cell_boxes(maps) or [None] * maps.parts
        a, b = (values.flatten().tolist() for values in self.heats)
        leads = [PartLead(divmod(i, maps.grid[1]), boxes[i], a[i], b[i]) for i in range(maps.parts)]
        return sorted(leads, key=lambda lead: -lead.difference)

    def to_dict(self) -> dict[str, Any]:
        """Everything there is to say, as plain Python values: what `diml explain --rather-than --json` prints.

        Returns:
            `query, a, b, similarity_a, similarity_b, difference, residual, parts`, then `model, grid, weight,
            marginals, converged`, `part` of a part query, and `mass` below 1. `parts` holds all parts of the query, the
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
            "parts": [part.to_dict() for part in self._all_parts()],
            "model": self.conditions.model,
            "grid": list(self.match_a.maps_a.grid),
            "weight": float(self.match_a.weight),
            "marginals": self.conditions.marginals,
            "converged": self.converged,
            **self.conditions.unusual(),
        }

    def describe(self, parts: int = 6) -> str:
        """Which image leads and by how much, and one line for each of the parts that favour a most.

        Raises:
            UsageError: `parts` is below 1.
        """
        from diml.data import printable

        shown = self.parts(parts)
        named = [f"A: {printable(self.a.name)}", f"B: {printable(self.b.name)}"]
        return "\n".join([*named, *contrast_words(self, shown).sentences, "", *lead_lines(shown)])

    def draw(self, path: str | os.PathLike[str], parts: int = 6) -> None:
        """Draw the query between the two images, and what its parts contribute with each; see `contrast_figure`.

        Args:
            path: .png, .svg or .pdf.
            parts: how many parts of the query are shown, from 1; 16 at most.

        Raises:
            UsageError: `parts` is below 1, another ending, or a folder that does not exist.
            ImageError: an image cannot be read.
            DimlError: the file cannot be written.
        """
        from diml.explanation.drawing import contrast_figure

        write(path, lambda: contrast_figure(self, parts))


def contrast_words(contrast: Contrast, shown: Sequence[PartLead] = ()) -> Words:
    """By how much one image leads, and which parts of the query make the lead.

    Args:
        contrast: of the query with the images that are called A and B here.
        shown: the parts of the query that are listed beside these words, as `contrast.parts(n)` gave them.
    """
    a, b = number(contrast.similarity_a), number(contrast.similarity_b)
    leads = [part.difference for part in contrast.parts()]
    parts = "parts" if contrast.match_a.chosen is None else "chosen parts"
    for_a, for_b = [each for each in leads if each > 0], [each for each in leads if each < 0]
    sentences = [
        f"Similarity {a} with A and {b} with B: {_leader(contrast.difference)}.",
        f"Of the query's {len(leads)} {parts}, {len(for_a)} favour A ({signed(sum(for_a))} in total) "
        f"and {len(for_b)} favour B ({signed(sum(for_b))}).",
    ]
    if shown:
        sentences.append(_accounted(shown, len(leads)))
    if abs(contrast.residual) >= NOTICEABLE:
        sentences.append(residual_sentence(contrast.residual, "part"))
    if not contrast.converged:
        sentences.append("One of the matchings stopped before it had converged, so the numbers are approximate.")
    return Words(("Similarity with A minus that with B", signed(contrast.difference)), sentences)


def _leader(difference: float) -> str:
    if abs(difference) < NOTICEABLE:
        return f"neither leads ({signed(difference, digits(difference))})"
    return f"{'A' if difference > 0 else 'B'} leads by {number(abs(difference))}"


def _accounted(shown: Sequence[PartLead], count: int) -> str:
    left = count - len(shown)
    these = "The part that favours A most adds" if len(shown) == 1 else f"The {len(shown)} parts that favour A most add"
    text = f"{these} {signed(sum(part.difference for part in shown))} to its lead"
    return text + (f"; the other {left:,} make up the rest." if left else "; there are no others.")


def lead_lines(shown: Sequence[PartLead]) -> list[str]:
    """One line per part of the query: its rank, where it lies, its difference, and the two values it comes from.

    Places are boxes `x0,y0-x1,y1` in pixels of the query; row and column (from 0) where these are unknown.
    """
    places = digits(max((abs(part.difference) for part in shown), default=0.0))
    return [
        f"{i:>3}  {place(part.cell, part.box)}  {signed(part.difference, places)}"
        f"  with A {signed(part.a, places)}, with B {signed(part.b, places)}"
        for i, part in enumerate(shown, start=1)
    ]
