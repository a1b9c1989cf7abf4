"""The report of a faithfulness run: what was measured, and how it is shown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diml.faithfulness.intervals import Estimate
from diml.faithfulness.object_rows import Compared, InteractionReliability, InteractionScores, ObjectScores
from diml.files import user_path


@dataclass(frozen=True)
class RemovalScores:
    """Deletion and insertion by one method, with one fill, for one of the recorded similarities.

    Attributes:
        method: whose heat gave the order of the cells.
        fill: what replaced the removed cells.
        measured: `similarity` (the model's own) or `pooled`.
        deletion, insertion: mean area under the curve, -1..1.
        deletion_gain: for each method of the report's `against`, the mean over the pairs of its area minus the area of
            this method; above 0 this method is better.
        insertion_gain: the same with the opposite sign, so that above 0 this method is better.
        deletion_curve, insertion_curve: mean similarity at each of the report's `shares`.
    """

    method: str
    fill: str
    measured: str
    deletion: float
    insertion: float
    deletion_gain: Mapping[str, Estimate]
    insertion_gain: Mapping[str, Estimate]
    deletion_curve: Sequence[float]
    insertion_curve: Sequence[float]


@dataclass(frozen=True)
class CompletenessScores:
    """Whether the heat of a method sums to what it claims, how stable the method is, and how long it takes.

    Attributes:
        accounts_for: the name of the number that its heat claims to sum to; empty without a claim.
        residual: largest distance between sum and number; None without a claim.
        gap: mean distance between the number and the similarity that the model ranks by; None without a claim.
        stability: by small change, the mean rank correlation of the explanations before and after it; None where it is
            undefined.
        milliseconds: median time of an explanation of two images that are embedded already.
    """

    method: str
    accounts_for: str
    residual: float | None
    gap: float | None
    stability: Mapping[str, float | None]
    milliseconds: float


@dataclass(frozen=True)
class KeypointScores:
    """Correct keypoints of one method on one grid; `CorrectKeypoints` says what is counted.

    Attributes:
        grid: rows and columns.
        points: their number in all pairs.
        chance, best: `right` of a random cell, and the largest possible one.
        by_kind, best_by_kind: `right` and `best` for each kind of pair, such as a warp.
    """

    method: str
    grid: tuple[int, int]
    points: int
    right: Estimate
    near: Estimate
    mass: Estimate
    confused: Estimate
    chance: float
    best: float
    by_kind: Mapping[str, float | None]
    best_by_kind: Mapping[str, float | None]


@dataclass(frozen=True)
class Faithfulness:
    """How far explanations can be trusted, on one collection with one model.

    Attributes:
        dataset, model: their names.
        head: in words, what the model's head was fitted on; None without a head.
        pairs, groups: the numbers of pairs, and of classes or photographs that they belong to.
        grid: of the model.
        matching: the settings of the model's matcher.
        seed: of all random numbers.
        weights: name of the weights of parts, and what they were fitted on.
        against: the methods over which gains are reported.
        shares: of the cells, at which the curves were recorded.
        stable_pairs: number of pairs on which the stability was measured.
        removal, accounts, keypoints: rows by method; `accounts` holds completeness, stability and time.
        objects: rows by method, on the pairs with masks.
        interactions, reliability: rows by fill and method, and by fill.
        skipped: name and reason of images and masks that cannot be read, and of grids that the model cannot give.
    """

    dataset: str
    model: str
    head: str | None
    pairs: int
    groups: int
    grid: tuple[int, int]
    matching: Mapping[str, Any]
    seed: int
    weights: str = "uniform"
    against: Sequence[str] = ("random", "centre")
    shares: Sequence[float] = ()
    stable_pairs: int = 0
    removal: Sequence[RemovalScores] = ()
    accounts: Sequence[CompletenessScores] = ()
    keypoints: Sequence[KeypointScores] = ()
    objects: Sequence[ObjectScores] = ()
    interactions: Sequence[InteractionScores] = ()
    reliability: Sequence[InteractionReliability] = ()
    skipped: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def to_dict(self) -> dict[str, Any]:
        """What `diml faithfulness --json` prints, as plain Python values; what is undefined is None."""
        return {
            **asdict(self),
            **{
                name: [_plain(row) for row in getattr(self, name)]
                for name in ("removal", "keypoints", "objects", "interactions", "reliability")
            },
            "skipped": [{"path": name, "reason": reason} for name, reason in self.skipped],
        }

    def describe(self) -> str:
        """What `diml faithfulness` prints: what was measured, and Markdown tables that read well as plain text."""
        from diml.faithfulness.tables import summary, tables

        return f"{summary(self)}\n\n{tables(self)}"

    def draw(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Draw the curves and the keypoints as PNG files into a folder, which is created if needed.

        Returns:
            The files.

        Raises:
            DimlError: the folder or a file cannot be written.
        """
        from diml.faithfulness.figures import write_figures

        return write_figures(self, user_path(folder))


def _plain(row: Any) -> dict[str, Any]:
    return {**asdict(row), **{key: _estimates(value) for key, value in vars(row).items() if _estimates(value)}}


def _estimates(value: Any) -> dict[str, Any] | None:
    """An estimate, or several by name, as plain values; None for anything else."""
    if isinstance(value, Estimate | Compared):
        return value.to_dict()
    if isinstance(value, Mapping) and any(isinstance(each, Estimate) for each in value.values()):
        return {name: each.to_dict() for name, each in value.items()}
    return None
