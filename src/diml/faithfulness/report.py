"""What was measured of the explanations, and the ways to show it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from diml.faithfulness.intervals import Estimate


@dataclass(frozen=True)
class Removal:
    """Deletion and insertion by one method, with one fill, of one of the recorded similarities.

    Attributes:
        method, fill: what was removed by, and what took its place.
        measured: `similarity` (the model's own) or `pooled`.
        deletion, insertion: mean area under the curve, -1..1.
        deletion_gain: for each of the report's `against`, its area less the method's own, insertion_gain the other way
            round, of the same pair: above 0 the method is better than that one.
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
class Account:
    """What a method claims, and how well it keeps to it.

    Attributes:
        accounts_for: the number that its heat claims to sum to; empty where it claims none.
        residual: largest distance of that sum from the number; None without a claim.
        gap: mean distance of the number from the similarity that the model ranks by; None without a claim.
        stability: mean rank correlation with the explanation after each small change; None where it is not defined.
        milliseconds: median time of an explanation, the images being embedded already.
    """

    method: str
    accounts_for: str
    residual: float | None
    gap: float | None
    stability: Mapping[str, float | None]
    milliseconds: float


@dataclass(frozen=True)
class Keypoints:
    """Correct keypoints of one method on one grid; see `Correct` for what is counted.

    Attributes:
        grid: rows and columns.
        points: how many there were, in all pairs.
        chance, best: `right` of a cell drawn at random, and of the best answer that cells can give.
        by_kind: `right` for each kind of pair, such as a warp; best_by_kind: `best` likewise.
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
        pairs, groups: how many pairs, and how many classes or photographs they are of.
        grid: of the model.
        matching: the settings of its matcher.
        seed: of all that was drawn.
        against: the methods over which gains are counted.
        shares: of the cells, at which the curves were recorded.
        stable_pairs: pairs on which the stability was measured.
        skipped: name and reason of pictures that cannot be read, and grids that the model cannot give.
    """

    dataset: str
    model: str
    head: str | None
    pairs: int
    groups: int
    grid: tuple[int, int]
    matching: Mapping[str, Any]
    seed: int
    against: Sequence[str] = ("random", "centre")
    shares: Sequence[float] = ()
    stable_pairs: int = 0
    removal: Sequence[Removal] = ()
    accounts: Sequence[Account] = ()
    keypoints: Sequence[Keypoints] = ()
    skipped: Sequence[tuple[str, str]] = field(default_factory=tuple)

    def as_dict(self) -> dict[str, Any]:
        """As it is written as JSON; what is not defined is None."""
        return {
            **asdict(self),
            "removal": [_plain(row) for row in self.removal],
            "keypoints": [_plain(row) for row in self.keypoints],
            "skipped": [{"path": name, "reason": reason} for name, reason in self.skipped],
        }


def _plain(row: Removal | Keypoints) -> dict[str, Any]:
    return {**asdict(row), **{key: _estimates(value) for key, value in vars(row).items() if _estimates(value)}}


def _estimates(value: Any) -> dict[str, Any] | None:
    """An estimate, or several by name, as plain values; None for anything else."""
    if isinstance(value, Estimate):
        return value.as_dict()
    if isinstance(value, Mapping) and any(isinstance(each, Estimate) for each in value.values()):
        return {name: each.as_dict() for name, each in value.items()}
    return None
