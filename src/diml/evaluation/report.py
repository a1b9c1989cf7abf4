"""The result of an evaluation, as a document, as a table and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diml.data import Skipped
from diml.markdown import table
from diml.matching.defaults import EPS, WEIGHT

RECALLS = (1, 2, 4, 8)
METRICS = (*(f"recall@{k}" for k in RECALLS), "r_precision", "map@r")


@dataclass(frozen=True)
class Evaluation:
    """How well a model ranks a collection.

    Attributes:
        dataset: name of the collection.
        images: number of images evaluated, as queries or in the gallery.
        classes: number of their classes.
        model: name of the model.
        head: a description of the model's head and of the images it was fitted on.
        marginals: name of the scheme; "custom" for marginals without a name.
        grid: rows and columns of the matching grid.
        protocol: "correct" or "published", see `evaluate_maps`.
        queries: number of queries that the averages are taken over.
        without_relevant: number of queries that no other image shares a class with; the averages leave them out.
        skipped: images that could not be read, and why.
        results: for each shortlist a row with the keys "shortlist" (a number, or "all") and `METRICS`; the values are
            fractions, 0..1.
        weight, eps, mass, transport: settings of the matching, see `diml.Matcher`; None for another reranker. A dustbin
            is written with its price, as `dustbin:0.3`.
        weights: name of the weights of parts, and what they were fitted on.
    """

    dataset: str
    images: int
    classes: int
    model: str
    head: str
    marginals: str
    grid: tuple[int, int]
    protocol: str
    queries: int
    without_relevant: int
    skipped: Sequence[Skipped] = ()
    results: Sequence[dict[str, Any]] = field(default_factory=list)
    weight: float | None = None
    eps: float | None = None
    mass: float | None = None
    transport: str | None = None
    weights: str = "uniform"

    def to_dict(self) -> dict[str, Any]:
        """A document that can be written as JSON: `dataset`, `images`, `classes`, `model`, `results`, then the rest."""
        return {
            "dataset": self.dataset,
            "images": self.images,
            "classes": self.classes,
            "model": self.model,
            "results": [dict(row) for row in self.results],
            "head": self.head,
            "marginals": self.marginals,
            "grid": list(self.grid),
            "protocol": self.protocol,
            "queries": self.queries,
            "without_relevant": self.without_relevant,
            "skipped": [{"path": skipped.path, "reason": skipped.reason} for skipped in self.skipped],
            "weight": self.weight,
            "eps": self.eps,
            "mass": self.mass,
            "transport": self.transport,
            "weights": self.weights,
        }

    def table(self) -> str:
        """A Markdown table, also readable as plain text, with a row for each shortlist.

        >>> row = dict(zip(("shortlist", *METRICS), (100, 0.5, 0.625, 0.75, 1.0, 0.4, 0.25), strict=True))
        >>> print(Evaluation("d", 8, 2, "m", "", "uniform", (4, 4), "correct", 8, 0, results=[row]).table())
        | shortlist | recall@1 | recall@2 | recall@4 | recall@8 | r_precision |  map@r |
        | --------: | -------: | -------: | -------: | -------: | ----------: | -----: |
        |       100 |   0.5000 |   0.6250 |   0.7500 |   1.0000 |      0.4000 | 0.2500 |
        """
        rows = [[str(row["shortlist"]), *(f"{row[name]:.4f}" for name in METRICS)] for row in self.results]
        return table(["shortlist", *METRICS], rows, left=0)

    def summary(self) -> str:
        """What was evaluated and how, in a few lines, to be printed above the table."""
        height, width = self.grid
        lines = [
            f"{self.dataset}: {self.images} images of {self.classes} classes, {self.queries} queries",
            f"model {self.model}, grid {height}x{width}, {self.marginals} marginals, {self.protocol} protocol",
            f"head: {self.head}",
        ]
        if self.weights != "uniform":
            lines.append(f"weights of parts: {self.weights}")
        if self.without_relevant:
            lines.append(
                f"queries left out of the averages because no other image has their class: {self.without_relevant}"
            )
        if self.skipped:
            lines.append(f"images left out, listed with the reasons: {len(self.skipped)}")
        if self.weight not in (None, WEIGHT) or self.eps not in (None, EPS):
            lines.append(f"weight {self.weight:g}, eps {self.eps:g}")
        if self.mass is not None and self.mass < 1:
            lines.append(f"partial transport of mass {self.mass:g}")
        if self.transport not in (None, "full"):
            lines.append(f"transport {self.transport}")
        return "\n".join(lines)
