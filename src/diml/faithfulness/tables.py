"""A faithfulness report as Markdown tables that read well as plain text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from diml.faithfulness.intervals import Estimate
from diml.faithfulness.object_tables import interaction_tables, interval, object_tables
from diml.faithfulness.report import Faithfulness, KeypointScores, RemovalScores
from diml.markdown import table

MEASURED = {"similarity": "the model's similarity", "pooled": "the pooled similarity"}


def summary(report: Faithfulness) -> str:
    """What was measured, in a few lines, to print above the tables."""
    height, width = report.grid
    matching = report.matching
    mass = f", mass {matching['mass']:g}" if matching["mass"] < 1 else ""
    transport = "" if matching.get("transport", "full") == "full" else f", transport {matching['transport']}"
    return (
        f"{report.dataset}: {report.pairs} pairs of {report.groups} classes or photographs, seed {report.seed}\n"
        f"model {report.model}, grid {height}x{width}, {matching['marginals']} marginals, "
        f"weight {matching['weight']:g}, eps {matching['eps']:g}{mass}{transport}\n"
        f"head: {'none' if report.head is None else f'fitted on {report.head}'}"
        + (f"\nweights of parts: {report.weights}" if report.weights != "uniform" else "")
    )


def tables(report: Faithfulness) -> str:
    """All tables, each under a line that says what it shows."""
    parts = [
        *_removals(report),
        *object_tables(report.objects, report.against),
        *interaction_tables(report.interactions, report.reliability, report.against),
        *_keypoints(report),
        *_accounts(report),
    ]
    return "\n\n".join(f"{words}\n\n{rows}" for words, rows in parts)


def _removals(report: Faithfulness) -> Iterator[tuple[str, str]]:
    for fill in dict.fromkeys(row.fill for row in report.removal):
        for measured in dict.fromkeys(row.measured for row in report.removal):
            rows = [row for row in report.removal if (row.fill, row.measured) == (fill, measured)]
            steps = len(report.shares) - 1
            words = (
                f"Removing the cells of one image ({fill}, {steps} steps), {MEASURED[measured]}: area under the "
                "curve, and how much better than by another method, 95 % interval"
            )
            over = [f"over {name}" for name in report.against]
            yield words, table(["method", "deletion", *over, "insertion", *over], map(_removal, rows))


def _removal(row: RemovalScores) -> list[str]:
    def gains(by: Mapping[str, Estimate]) -> list[str]:
        return ["-" if name == row.method else interval(gain, "+.3f") for name, gain in by.items()]

    return [
        row.method,
        f"{row.deletion:.3f}",
        *gains(row.deletion_gain),
        f"{row.insertion:.3f}",
        *gains(row.insertion_gain),
    ]


def _keypoints(report: Faithfulness) -> Iterator[tuple[str, str]]:
    for grid in dict.fromkeys(row.grid for row in report.keypoints):
        rows = [row for row in report.keypoints if row.grid == grid]
        words = (
            f"Correct keypoints on {grid[0]}x{grid[1]} cells ({rows[0].points} points, chance "
            f"{100 * rows[0].chance:.1f} %, at best {100 * rows[0].best:.1f} %): percent, 95 % interval"
        )
        yield words, table(["method", "right cell", "or beside it", "mass", "left for right"], map(_keypoint, rows))
        kinds = [kind for kind in rows[0].by_kind if kind]
        if len(kinds) > 1:
            words = f"Right cell by kind of pair, {grid[0]}x{grid[1]} cells, percent"
            lines = [[row.method, *(_percent(row.by_kind.get(kind)) for kind in kinds)] for row in rows]
            lines.append(["at best", *(_percent(rows[0].best_by_kind.get(kind)) for kind in kinds)])
            yield words, table(["method", *kinds], lines)


def _keypoint(row: KeypointScores) -> list[str]:
    return [row.method, *(interval(each, ".1f", 100) for each in (row.right, row.near, row.mass, row.confused))]


def _accounts(report: Faithfulness) -> Iterator[tuple[str, str]]:
    if not report.accounts:
        return
    changes = list(report.accounts[0].stability)
    words = "Completeness: the largest residual, and the mean distance from the similarity that the model ranks by"
    if changes:
        words += f"; rank correlation after a small change ({report.stable_pairs} pairs)"
    rows = [
        [
            row.method,
            row.accounts_for or "-",
            "-" if row.residual is None else f"{row.residual:.0e}",
            "-" if row.gap is None else f"{row.gap:.3f}",
            *(_number(row.stability[change], ".2f") for change in changes),
            f"{row.milliseconds:.1f}",
        ]
        for row in report.accounts
    ]
    yield words, table(["method", "accounts for", "residual", "distance", *changes, "ms"], rows, left=2)


def _percent(value: float | None) -> str:
    return _number(None if value is None else 100 * value, ".1f")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
