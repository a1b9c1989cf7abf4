"""The run folder: its files, and the checks that keep two runs out of one folder."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from diml.errors import TrainingError, UsageError
from diml.files import write_atomic
from diml.learning.run.recorded_images import RecordedImages
from diml.learning.run.settings import TrainingSettings
from diml.learning.run.settings_file import load_settings

PACKAGES = ("diml", "torch", "lightning", "pytorch-metric-learning", "timm")
# Settings that may change when a run is resumed: how the work is distributed, and the number of epochs.
FREE = frozenset({"data.workers", "run.devices", "run.nodes", "run.accelerator", "run.strategy", "optim.epochs"})

EpochRow = dict[str, float | int | None]


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run: `settings.toml`, `versions.json`, `images.csv`, `metrics.csv`, `curves.png`, `tensorboard/`,
    `checkpoints/`, `model/` and, at the end, `result.json`.

    Args:
        path: path of the folder.
    """

    path: Path

    @property
    def settings(self) -> Path:
        return self.path / "settings.toml"

    @property
    def images(self) -> Path:
        """The training and validation images that the run was begun with."""
        return self.path / "images.csv"

    @property
    def last(self) -> Path:
        """The checkpoint of the last complete epoch."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def kept(self) -> str:
        """What a stopped run has saved and how to continue it, for the end of a message."""
        if self.last.is_file():
            epoch = f"the end of epoch {len(self.rows()) - 1}" if self.rows() else "the last complete epoch"
            return f"{self.last} holds {epoch}, and the same command with --resume continues from there"
        if not self.settings.is_file():
            return "nothing was saved yet"
        return "no epoch was complete yet, and the same command with --resume starts again"

    def check_new(self) -> None:
        """Check that a new run can be written here.

        Raises:
            UsageError: the path is not a folder, is not empty, or may not be written.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise UsageError(f"{self.path}: is not a folder; give a new folder for the run")
        if self.path.is_dir() and any(self.path.iterdir()):
            how = "continue with --resume or " if self.settings.is_file() else ""
            raise UsageError(f"{self.path}: is not empty; {how}give a new folder with --out")
        there = next(place for place in (self.path, *self.path.absolute().parents) if place.is_dir())
        if not os.access(there, os.W_OK):
            raise UsageError(f"{self.path}: cannot be created, {there} is not writable; give another one")

    def check_resumable(self, settings: TrainingSettings) -> None:
        """Check that the settings continue this run; if nothing was saved yet, any settings do.

        Raises:
            UsageError: there is no run, or a setting differs that affects training.
        """
        if not self.settings.is_file():
            raise UsageError(f"{self.path}: has no run to resume; leave out --resume to begin one")
        if not self.last.is_file():
            return
        before, now = flat(load_settings(self.settings, ())), flat(settings)
        free = FREE - ({"optim.epochs"} if now["optim.schedule"] == "cosine" else set())
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key) and key not in free:
                raise UsageError(
                    f"{self.path}: was begun with {key} = {before.get(key)!r}, got {now.get(key)!r}; resume it with "
                    "the same settings, or give a new folder with --out"
                )
        if (done := len(self.rows()) - 1) > settings.optim.epochs:
            raise UsageError(
                f"{self.path}: has completed {done} epochs, expected optim.epochs of at least as many, got "
                f"{settings.optim.epochs}"
            )

    def recorded_images(self) -> RecordedImages | None:
        """The images that the run was begun with; None for a run of an earlier version, which has only their digest.

        Raises:
            UsageError: the file cannot be read.
        """
        return RecordedImages.read(self.images) if self.images.is_file() else None

    def check_data(self, digest: str) -> None:
        """Check that the training and validation images are those that the run was begun with.

        Raises:
            UsageError: their names or classes have changed.
        """
        if self.made_by().get("data", digest) != digest:
            raise UsageError(
                f"{self.path}: the training or validation images, or their classes, are not those it was begun with; "
                "restore them, or give a new folder with --out"
            )

    def made_by(self) -> dict[str, Any]:
        """The content of `versions.json`; empty if it is missing or cannot be read."""
        try:
            found = json.loads((self.path / "versions.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def begin(self, settings: TrainingSettings, images: RecordedImages, digest: str, *, resumed: bool) -> None:
        """Write settings, images and versions, and remove the result of a shorter run that is now extended."""
        self.result.unlink(missing_ok=True)
        if not resumed or not self.images.is_file():
            self.write(self.images, images.to_csv().encode())
        self.write(self.settings, settings.to_toml().encode())
        document = {**versions(), "data": digest}
        if resumed and (first := self.made_by()):
            earlier = first.get("resumed")
            document = {**first, "resumed": [*(earlier if isinstance(earlier, list) else []), document]}
        self.write(self.path / "versions.json", (json.dumps(document, indent=2) + "\n").encode())

    def rows(self) -> list[EpochRow]:
        """The content of `metrics.csv`, which the checkpoint has too; empty if it is missing or cannot be read."""
        try:
            with open(self.metrics, newline="", encoding="utf-8") as file:
                found = list(csv.DictReader(file))
            return [{key: float(value) if value else None for key, value in row.items()} for row in found]
        except (OSError, ValueError, TypeError, csv.Error):
            return []

    def finished(self, epochs: int) -> dict[str, Any] | None:
        """The content of `result.json` if the run has completed so many epochs; None also if it cannot be read."""
        try:
            found = json.loads(self.result.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        complete = isinstance(found, dict) and {"test", "best_epoch", "settings"} <= found.keys()
        return found if complete and len(self.rows()) > epochs else None

    def write_rows(self, rows: Sequence[Mapping[str, object]]) -> None:
        """Rewrite `metrics.csv`, one line for each epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.write(self.metrics, text.getvalue().encode())

    def write_result(self, document: Mapping[str, Any]) -> None:
        self.write(self.result, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())

    def write(self, file: Path, content: bytes) -> None:
        """Write a file atomically and durably."""
        self.write_by(file, lambda opened: opened.write(content))

    def write_by(self, file: Path, write: Callable[[IO[bytes]], object]) -> None:
        """Write a file atomically and durably, by a function that writes to the open file.

        Raises:
            TrainingError: it cannot be written; the former file remains.
        """
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, write, durable=True)
        except OSError as error:
            raise TrainingError(
                f"{file}: cannot be written ({error.strerror or error}); free some space or check the permissions; "
                f"{self.kept}"
            ) from error


def flat(settings: TrainingSettings) -> dict[str, Any]:
    """Settings by their dotted names, as JSON values.

    >>> flat(load_settings(None, ["data.spec=photos"]))["data.spec"]
    'photos'
    """
    sections: dict[str, dict[str, Any]] = settings.model_dump(mode="json")
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def versions() -> dict[str, Any]:
    """The record of how a run was made: versions, the commit if diml runs from a checkout, the command, the time."""
    return {
        "versions": {"python": ".".join(map(str, sys.version_info[:3])), **{name: version(name) for name in PACKAGES}},
        "commit": _commit(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _commit() -> str | None:
    """The commit of the checkout that contains this file, with + if it has changes; None outside a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        # An installed copy may lie inside the checkout of another project.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
