"""From what was recorded for each pair to the rows of a report."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from diml.explanation.methods.method import MethodResult
from diml.faithfulness.correspondence import Correct
from diml.faithfulness.deletion import MEASURED, Curves
from diml.faithfulness.grids import Grid
from diml.faithfulness.intervals import Estimate, estimate
from diml.faithfulness.pairs import Seen
from diml.faithfulness.report import Account, Keypoints, Removal
from diml.faithfulness.stability import CHANGES


def removal_row(
    name: str, curves: Curves, others: Mapping[str, Curves], fill: str, k: int, groups: Sequence[str], seed: int
) -> Removal:
    deletion, insertion = curves.areas("deletion")[:, k], curves.areas("insertion")[:, k]

    def gains(which: Literal["deletion", "insertion"], sign: int) -> dict[str, Estimate]:
        own = curves.areas(which)[:, k]
        return {
            of: estimate((sign * (own - other.areas(which)[:, k])).tolist(), groups, seed)
            for of, other in others.items()
        }

    return Removal(
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


def account_row(
    name: str,
    explained: Sequence[MethodResult],
    similarities: Sequence[float],
    stable: Mapping[str, Sequence[float]],
    times: Sequence[float],
) -> Account:
    residuals = [abs(each.residual) for each in explained if each.residual is not None]
    gaps = [abs(each.total - s) for each, s in zip(explained, similarities, strict=True) if each.total is not None]
    return Account(
        method=name,
        accounts_for=explained[0].accounts_for,
        residual=max(residuals) if residuals else None,
        gap=statistics.fmean(gaps) if gaps else None,
        stability={change: _mean(stable[change]) for change in CHANGES if change in stable},
        milliseconds=1000 * statistics.median(times),
    )


def keypoints_row(name: str, grid: Grid, found: Sequence[Correct], seen: Sequence[Seen], seed: int) -> Keypoints:
    groups, kinds = [each.pair.group for each in seen], [each.pair.kind for each in seen]

    def of(get: Callable[[Correct], float]) -> list[float]:
        return [get(each) for each in found]

    right, best = of(lambda each: each.right), of(lambda each: each.best)
    return Keypoints(
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
