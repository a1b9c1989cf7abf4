"""A training run: from settings to a folder with the best model in it and what it is worth."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only

from diml.errors import DimlError
from diml.evaluation import Evaluation, evaluate
from diml.learning.run.folder import RunFolder
from diml.learning.run.learner import Learner
from diml.learning.run.module import TrainingModule
from diml.learning.run.prepared_run import PreparedRun
from diml.learning.run.recorder import EpochRecorder, NullObserver, Observer
from diml.learning.run.settings import TrainingSettings
from diml.learning.run.trainer import fit, make_trainer
from diml.model import StructuralModel

SHORTLISTS = (0, 100)


class StoppedError(DimlError):
    """A person stopped the run."""

    exit_code = 130


@dataclass(frozen=True)
class TrainingResult:
    """What a run came to.

    Attributes:
        folder: of the run.
        document: what stands in `result.json`: "test" (see `Evaluation.to_dict`; None for data without a test half),
            "validation" (the metrics of the best epoch, None without validation classes), "best_epoch" (0 is the model
            that training began with), "seconds" (of training, all resumed parts together), "settings".
        test: the evaluation behind it; None where it was made by an earlier call.
    """

    folder: Path
    document: dict[str, Any]
    test: Evaluation | None = None


def train(
    settings: TrainingSettings, out: str | os.PathLike[str], *, resume: bool = False, observer: Observer | None = None
) -> TrainingResult:
    """Train a model as the settings say, and keep everything in a folder.

    Args:
        settings: see `load_settings`.
        out: the folder of the run (see `RunFolder`), new or empty, unless it is resumed.
        resume: go on from the end of the last whole epoch. On a CPU the result is the same, bit for bit, as of a run
            that was never stopped.
        observer: who looks on.

    Raises:
        UsageError: settings that do not fit the data or the model, or a folder that is not as expected.
        DatasetError: a class with too few images, a batch that cannot be filled.
        ImageError: a training or validation image that cannot be read.
        TrainingError: the loss became NaN, or something could not be written; what was kept so far is kept.
        StoppedError: the run was stopped by Ctrl-C or SIGTERM.
    """
    folder = RunFolder(Path(out))
    first = getattr(rank_zero_only, "rank", None) in (None, 0)
    if first:
        folder.check_resumable(settings) if resume else folder.check_new()
    try:
        if resume and (done := _finished(folder, settings)):
            return done if first else TrainingResult(folder.path, {})
        return _train(settings, folder, resume, (observer if first else None) or NullObserver(), first)
    except KeyboardInterrupt as error:
        raise StoppedError(f"stopped; {folder.kept}") from error


def _train(
    settings: TrainingSettings, folder: RunFolder, resume: bool, observer: Observer, first: bool
) -> TrainingResult:
    plan = PreparedRun.of(settings)
    going_on = resume and folder.last.is_file()
    if going_on:
        folder.check_data(plan.digest)
    # What this machine cannot do is refused before the model is made, which may take long.
    trainer = make_trainer(settings, folder)
    batches = plan.batches(0, trainer.world_size)
    # Of the model that was saved only the shapes matter: the checkpoint brings the weights.
    model = StructuralModel.from_pretrained(folder.model) if going_on else plan.begin(folder.path.name, observer.stage)
    objective = plan.objective(model.dim)
    chosen = settings.model
    learner = Learner(model.encoder, objective, freeze_batch_norm=chosen.freeze_batch_norm, frozen=chosen.frozen)
    keeper = EpochRecorder(folder, model, plan.splits.validation, settings, observer)
    trainer.callbacks.append(keeper)  # type: ignore[attr-defined]
    module = TrainingModule(learner, settings, plan.loader, len(batches))
    if first:
        folder.begin(settings, plan.digest, resumed=going_on)
        notices = [notice for notice in (batches.notice, plan.splits.notice) if notice]
        observer.begin([plan.describe(), f"loss: {objective.describe()}"], notices)
    fit(trainer, module, folder, going_on)
    return _conclude(folder, keeper, plan, observer) if first else TrainingResult(folder.path, {})


def _finished(folder: RunFolder, settings: TrainingSettings) -> TrainingResult | None:
    """The result of a run that has had all its epochs."""
    if folder.result.is_file() and len(folder.rows()) > settings.optim.epochs:
        return TrainingResult(folder.path, json.loads(folder.result.read_text(encoding="utf-8")))
    return None


def _conclude(folder: RunFolder, keeper: EpochRecorder, plan: PreparedRun, observer: Observer) -> TrainingResult:
    """Measure the model that was saved, once, on the test half."""
    best = keeper.rows[keeper.best_epoch()]
    model = StructuralModel.from_pretrained(folder.model).to(plan.device)
    test = None
    if plan.splits.test is not None:
        test = evaluate(plan.splits.test, model, shortlists=SHORTLISTS, progress=observer.stage)
    measured = {name: value for name, value in best.items() if name not in ("images_per_second", "seconds")}
    document = {
        "test": None if test is None else test.to_dict(),
        "validation": None if plan.splits.validation is None else measured,
        "best_epoch": best["epoch"],
        "seconds": round(sum(float(row["seconds"] or 0) for row in keeper.rows), 3),
        "settings": plan.settings.model_dump(mode="json"),
    }
    folder.write_result(document)
    return TrainingResult(folder.path, document, test)
