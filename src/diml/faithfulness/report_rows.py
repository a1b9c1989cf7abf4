"""The rows of a report, from what was recorded for each pair."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from diml.explanation.methods.method import MethodResult
from diml.faithfulness.correct_keypoints import CorrectKeypoints
from diml.faithfulness.embedded_pairs import EmbeddedPair
from diml.faithfulness.grids import Grid
from diml.faithfulness.intervals import Estimate, estimate
from diml.faithfulness.removal import MEASURED, RemovalCurves
from diml.faithfulness.report import CompletenessScores, KeypointScores, RemovalScores
from diml.faithfulness.stability import CHANGES


def removal_scores(
    name: str,
    curves: RemovalCurves,
    others: Mapping[str, RemovalCurves],
    fill: str,
    k: int,
    groups: Sequence[str],
    seed: int,
) -> RemovalScores:
    """The row of one method, for the similarity `MEASURED[k]`."""
    deletion, insertion = curves.areas("deletion")[:, k], curves.areas("insertion")[:, k]

    def gains(which: Literal["deletion", "insertion"], sign: int) -> dict[str, Estimate]:
        own = curves.areas(which)[:, k]
        return {
            of: estimate((sign * (own - other.areas(which)[:, k])).tolist(), groups, seed)
            for of, other in others.items()
        }

    return RemovalScores(
        method=name,
        fill=fill,
        measured=MEASURED[k],
        deletion=float(deletion.mean()),
        insertion=float(insertion.mean()),
        deletion_gain=gains("deletion", -1),
        insertion_gain=gains("insertion", 1),
        deletion_curve=curves.deletion[:, :, k].mean(dim=0).tolist(),
        insertion_curve=curves.insertion[:, :, k].mean(dim=0).tolist(),
    )


def completeness_scores(
    name: str,
    results: Sequence[MethodResult],
    similarities: Sequence[float],
    stable: Mapping[str, Sequence[float]],
    seconds: Sequence[float],
) -> CompletenessScores:
    """The row of one method, from its result and its time in seconds for each pair."""
    residuals = [abs(each.residual) for each in results if each.residual is not None]
    gaps = [abs(each.total - s) for each, s in zip(results, similarities, strict=True) if each.total is not None]
    return CompletenessScores(
        method=name,
        accounts_for=results[0].accounts_for,
        residual=max(residuals) if residuals else None,
        gap=statistics.fmean(gaps) if gaps else None,
        stability={change: _mean(stable[change]) for change in CHANGES if change in stable},
        milliseconds=1000 * statistics.median(seconds),
    )


def keypoint_scores(
    name: str, grid: Grid, found: Sequence[CorrectKeypoints], pairs: Sequence[EmbeddedPair], seed: int
) -> KeypointScores:
    """The row of one method on one grid, from what it found in each pair."""
    groups, kinds = [each.pair.group for each in pairs], [each.pair.kind for each in pairs]

    def of(get: Callable[[CorrectKeypoints], float]) -> list[float]:
        return [get(each) for each in found]

    right, best = of(lambda each: each.right), of(lambda each: each.best)
    return KeypointScores(
        method=name,
        grid=grid,
        points=sum(each.points for each in found),
        right=estimate(right, groups, seed),
        near=estimate(of(lambda each: each.near), groups, seed),
        mass=estimate(of(lambda each: each.mass), groups, seed),
        confused=estimate(of(lambda each: each.confused), groups, seed),
        chance=found[0].chance,
        best=_mean(best) or 0.0,
        by_kind=_by_kind(right, kinds),
        best_by_kind=_by_kind(best, kinds),
    )


def _by_kind(values: Sequence[float], kinds: Sequence[str]) -> dict[str, float | None]:
    return {
        kind: _mean([value for value, of_kind in zip(values, kinds, strict=True) if of_kind == kind])
        for kind in dict.fromkeys(kinds)
    }


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return statistics.fmean(known) if known else None
