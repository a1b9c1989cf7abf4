"""Tables of heat on the object, and of interactions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from diml.faithfulness.intervals import Estimate
from diml.faithfulness.object_rows import Compared, InteractionReliability, InteractionScores, ObjectScores
from diml.markdown import table


def object_tables(rows: Sequence[ObjectScores], against: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Words and table of the heat on the object, and of its share by the kind of pair."""
    if not rows:
        return
    over = [f"over {name}" for name in against]
    words = (
        "Heat on the object, percent: the share of the positive heat that lies on its mask; whether the centre of the "
        "strongest cell lies on it, and how much of that cell shows it; and how much better than by another method, "
        "95 % interval"
    )
    lines = [
        [
            row.method,
            *_compared(row.method, row.share, against, ".1f", 100),
            *_compared(row.method, row.pointed, against, ".1f", 100),
            interval(row.covered.mean, ".1f", 100),
        ]
        for row in rows
    ]
    yield words, table(["method", "on the object", *over, "points at it", *over, "strongest cell"], lines)
    if any(not math.isnan(row.right.mean.mean) for row in rows):
        words = "Share of the heat on both objects that lies on the right one, where another is in the image, percent"
        lines = [[row.method, *_compared(row.method, row.right, against, ".1f", 100)] for row in rows]
        yield words, table(["method", "on the right one", *over], lines)
    kinds = [kind for kind in rows[0].by_kind if kind]
    if len(kinds) > 1:
        lines = [[row.method, *(format(100 * row.by_kind[kind], ".1f") for kind in kinds)] for row in rows]
        yield "Heat on the object by kind, percent", table(["method", *kinds], lines)


def interaction_tables(
    rows: Sequence[InteractionScores], reliability: Sequence[InteractionReliability], against: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Words and table for each fill."""
    over = [f"over {name}" for name in against]
    for known in reliability:
        words = (
            f"Agreement with interactions found by hiding cells ({known.fill}, {known.subsets} copies of each image): "
            "correlation of the contributions of all pairs of cells, and of the heat of the cells, 95 % interval"
        )
        lines = [
            [
                row.method,
                *_compared(row.method, row.pearson, against, ".3f"),
                *_compared(row.method, row.spearman, against, ".3f"),
                *_compared(row.method, row.cells, against, ".3f"),
            ]
            for row in rows
            if row.fill == known.fill
        ]
        nothing = ["-" for _ in against]
        of_halves = [interval(each, ".3f") for each in (known.pearson, known.spearman, known.cells)]
        at_best = [format(known.best[name], ".3f") for name in ("pearson", "spearman", "cells")]
        for name, values in (("half with half", of_halves), ("at best, about", at_best)):
            lines.append([name, *(cell for value in values for cell in (value, *nothing))])
        yield words, table(["method", "Pearson", *over, "Spearman", *over, "cells", *over], lines)


def _compared(method: str, value: Compared, against: Sequence[str], form: str, factor: float = 1) -> list[str]:
    """The mean, and the gain over each of these methods."""
    gains = [
        interval(value.gain[name], f"+{form}", factor) if name != method and name in value.gain else "-"
        for name in against
    ]
    return [interval(value.mean, form, factor), *gains]


def interval(value: Estimate, form: str, factor: float = 1) -> str:
    """`mean [low, high]`; the mean alone without an interval, and a dash without a mean."""
    if math.isnan(value.mean):
        return "-"
    mean, low, high = (format(factor * number, form) for number in (value.mean, value.low, value.high))
    return mean if math.isnan(value.low) else f"{mean} [{low}, {high}]"
