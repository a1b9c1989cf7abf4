"""The result of a finished run, read from its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diml.data import printable
from diml.errors import UsageError
from diml.evaluation import METRICS

# Settings in which runs of one row may differ: the seed, the data's path, and how the work is distributed.
FREE = {"run.seed", "data.spec", "data.workers", "run.devices", "run.nodes", "run.accelerator", "run.strategy"}


@dataclass(frozen=True)
class FinishedRun:
    """A finished run.

    Attributes:
        folder: the run folder.
        settings: the settings by their dotted names.
        test: the evaluation on the test half, see `Evaluation.to_dict`.
    """

    folder: Path
    settings: Mapping[str, Any]
    test: Mapping[str, Any]

    @property
    def data(self) -> tuple[str, int, int]:
        """The test data: its name, number of images and number of classes."""
        return str(self.test["dataset"]), int(self.test["images"]), int(self.test["classes"])

    @property
    def kind(self) -> str:
        """All settings except `FREE`, as text; equal for runs of one row."""
        return json.dumps({key: value for key, value in self.settings.items() if key not in FREE}, sort_keys=True)

    @property
    def trained(self) -> tuple[str, str]:
        """The name of the loss and what it compared, "pooled" or "structural"."""
        return str(self.settings["loss.name"]), str(self.settings["loss.similarity"])

    @property
    def seed(self) -> int:
        return int(self.settings["run.seed"])


def read_run(folder: Path) -> FinishedRun:
    """Read a finished run from its `result.json`.

    Raises:
        UsageError: it is not a run, is not finished, has no test half, or cannot be read.
    """
    name, file = printable(folder), folder / "result.json"
    if not file.is_file():
        if (folder / "settings.toml").is_file():
            raise UsageError(f"{name}: is not finished; continue it with diml train --resume, or leave it out")
        raise UsageError(f"{name}: is not a run; expected a folder written by diml train")
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
    """Access everything that a table needs, so that a missing entry is found here."""
    _ = run.data, run.trained, run.seed
    for row in run.test["results"]:
        _ = row["shortlist"], [float(row[name]) for name in METRICS]
