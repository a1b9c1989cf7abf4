"""Write and print the report of `reproduce.sh`: what the runs reached by the published protocol, beside the paper.

    python3 recipes/beside.py cub200 runs/reproduce-cub200

Needs no package: it reads `published.json` and `settings.toml` of each run, and `published.csv` beside this file.
"""

from __future__ import annotations

import csv
import json
import statistics
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

METRICS = ("recall@1", "recall@2", "recall@4", "recall@8", "r_precision", "map@r")
HEADER = ("loss", "trained with", "ranking", "seeds", *METRICS, "the paper's recall@1", "ours - theirs")
HERE = Path(__file__).parent


def rows(data: str, out: Path) -> list[list[str]]:
    """A row for each loss, what it compared, and each ranking: percent, as mean and deviation over seeds."""
    measured = defaultdict(list)
    for file in sorted(out.glob("*/published.json")):
        settings = tomllib.loads((file.parent / "settings.toml").read_text(encoding="utf-8"))
        for result in json.loads(file.read_text(encoding="utf-8"))["results"]:
            measured[settings["loss"]["name"], settings["loss"]["similarity"], result["shortlist"]].append(result)
    with (HERE / "published.csv").open(encoding="utf-8", newline="") as lines:
        theirs = {row["loss"]: float(row["percent"]) for row in csv.DictReader(lines) if row["data"] == data}
    found = []
    for (loss, similarity, shortlist), results in sorted(measured.items(), key=lambda each: [str(k) for k in each[0]]):
        values = {name: [100 * float(result[name]) for result in results] for name in METRICS}
        paper = theirs.get(loss) if shortlist else None
        found.append(
            [
                loss,
                similarity,
                f"structural ({shortlist})" if shortlist else "pooled",
                str(len(results)),
                *(_cell(values[name]) for name in METRICS),
                "" if paper is None else f"{paper:.2f}",
                "" if paper is None else f"{statistics.mean(values['recall@1']) - paper:+.2f}",
            ]
        )
    return found


def _cell(values: list[float]) -> str:
    mean = statistics.mean(values)
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} ± {statistics.stdev(values):.2f}"


def report(data: str, out: Path) -> str:
    """The table, and what is to be known beside it, in Markdown."""
    found = rows(data, out)
    if not found:
        sys.exit(f"{out} holds no run with published.json; run recipes/reproduce.sh {data} DIR {out}")
    first = json.loads(next(iter(sorted(out.glob("*/published.json")))).read_text(encoding="utf-8"))
    counted = f"{first['images']} test images of {first['classes']} classes"
    lines = [
        f"{first['dataset']}: {counted}, protocol {first['protocol']}, percent",
        "",
        *(f"| {' | '.join(cells)} |" for cells in (HEADER, ["---"] * len(HEADER), *found)),
        "",
        "The paper's number is what Papers with Code lists for the method with this loss (ICCV 2021). It does not say "
        "whether the loss compared matched parts too, so the number stands beside both. Losses and data sets that it "
        "does not list have none.",
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> None:
    if len(arguments) != 2:
        sys.exit("usage: python3 recipes/beside.py cub200|cars196|sop OUT")
    text = report(arguments[0], Path(arguments[1]))
    Path(arguments[1], "report.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
