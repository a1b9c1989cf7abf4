"""What a finished run came to, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diml.data import printable
from diml.errors import UsageError
from diml.evaluation import METRICS

# Settings that runs of one row may differ in: the seed, where the data lies, and how the work is spread.
FREE = {"run.seed", "data.spec", "data.workers", "run.devices", "run.nodes", "run.accelerator", "run.strategy"}


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: of the run.
        settings: by their dotted names.
        test: its evaluation on the test half, see `Evaluation.to_dict`.
    """

    folder: Path
    settings: Mapping[str, Any]
    test: Mapping[str, Any]

    @property
    def data(self) -> tuple[str, int, int]:
        """What was measured on: its name, images and classes."""
        return str(self.test["dataset"]), int(self.test["images"]), int(self.test["classes"])

    @property
    def kind(self) -> str:
        """The settings but for the free ones, as text."""
        return json.dumps({key: value for key, value in self.settings.items() if key not in FREE}, sort_keys=True)

    @property
    def trained(self) -> tuple[str, str]:
        """The loss, and what it compared: "pooled" or "structural"."""
        return str(self.settings["loss.name"]), str(self.settings["loss.similarity"])

    @property
    def seed(self) -> int:
        return int(self.settings["run.seed"])


def read_run(folder: Path) -> FinishedRun:
    """A finished run from its `result.json`.

    Raises:
        UsageError: it is no run, not finished, has no test half, or cannot be read.
    """
    name, file = printable(folder), folder / "result.json"
    if not file.is_file():
        if (folder / "settings.toml").is_file():
            raise UsageError(f"{name}: is not finished; go on with it by diml train --resume, or leave it out")
        raise UsageError(f"{name}: holds no run; expected a folder written by diml train")
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        settings = {f"{s}.{key}": value for s, values in document["settings"].items() for key, value in values.items()}
        run = FinishedRun(folder, settings, document["test"])
        if run.test is not None:
            _check(run)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{printable(file)}: is not the result of a run ({type(error).__name__}: {printable(str(error))}); "
            "copy the whole folder again, or leave it out"
        ) from error
    if run.test is None:
        raise UsageError(f"{name}: its data has no test half, so there is nothing to report; leave it out")
    return run


def _check(run: FinishedRun) -> None:
    """Look up everything that a table needs."""
    _ = run.data, run.trained, run.seed
    for row in run.test["results"]:
        _ = row["shortlist"], [float(row[name]) for name in METRICS]
