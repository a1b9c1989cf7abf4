"""A training run: from settings to a folder that holds the best model and its results."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from torch import nn

from diml.errors import DimlError
from diml.evaluation import Evaluation, evaluate
from diml.files import user_path
from diml.learning.batches.left_out import LeftOut
from diml.learning.run.folder import RunFolder
from diml.learning.run.learner import Learner
from diml.learning.run.module import TrainingModule
from diml.learning.run.own_parts import as_objective, recorded
from diml.learning.run.prepared_run import PreparedRun
from diml.learning.run.recorded_images import RecordedImages, check_classes
from diml.learning.run.recorder import EpochRecorder, NullObserver, Observer
from diml.learning.run.settings import TrainingSettings
from diml.learning.run.trainer import fit, make_trainer
from diml.model import StructuralModel

SHORTLISTS = (0, 100)


class StoppedError(DimlError):
    """The run was stopped by Ctrl-C or SIGTERM."""

    exit_code = 130


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a run.

    Attributes:
        folder: the run folder.
        document: the content of `result.json`: "test" (see `Evaluation.to_dict`; None for data without a test half),
            "validation" (the metrics of the best epoch; None without validation classes), "best_epoch" (0 is the model
            before training), "seconds" (training time, including all parts of a resumed run), "skipped" (path and
            reason of images that were left out), "settings". Empty in all but the first of several processes.
        test: the evaluation on the test half; None if an earlier call made it.
    """

    folder: Path
    document: dict[str, Any]
    test: Evaluation | None = None


def train(
    settings: TrainingSettings,
    out: str | os.PathLike[str],
    *,
    model: StructuralModel | None = None,
    objective: nn.Module | None = None,
    resume: bool = False,
    observer: Observer | None = None,
) -> TrainingResult:
    """Train a model and write everything to a folder.

    Args:
        settings: settings of the run, see `load_settings`.
        out: the run folder (see `RunFolder`), new or empty unless the run is resumed.
        model: a model to start from instead of `model.name`, for instance `StructuralModel.wrap(module)`. It is copied.
            Its grid, resampling and head are kept; without a head it gets one of `model.dim`, by default 128 or as many
            as it has channels. All other settings apply. To load the trained model of a wrapped module, pass that
            module: `StructuralModel.from_pretrained(out, backbone=module)`.
        objective: an `Objective`, or a loss of pytorch-metric-learning, to minimise instead of `loss.name`. It is
            copied. Labels are 0 .. classes - 1, the places of the training classes in sorted order. `loss.similarity`,
            `loss.marginals`, `loss.weight` and `loss.eps` still say how the trained model ranks.
        resume: continue from the end of the last complete epoch, with the same model and objective if they were passed.
            On a CPU the result equals that of an uninterrupted run, bit for bit.
        observer: told about the progress.

    An image that cannot be read is reported once and left out: for the rest of the epoch other images of its class
    stand in for it, and later epochs do not draw it.

    With several processes, every process has to pass the same model and objective.

    Raises:
        UsageError: settings that do not fit the data or the model, or a folder that is not as expected.
        DatasetError: a class has too few images, also after some are gone on a resume, or a batch cannot be filled.
        ImageError: none of the training images of a class can be read.
        TrainingError: the loss became NaN, or something could not be written; what was saved so far remains.
        StoppedError: the run was stopped by Ctrl-C or SIGTERM.
    """
    own_model = None if model is None else copy.deepcopy(model).float().eval()
    own_objective = None if objective is None else as_objective(objective)
    settings = recorded(settings, own_model, own_objective)
    folder = RunFolder(user_path(out))
    first = getattr(rank_zero_only, "rank", None) in (None, 0)
    if first:
        folder.check_resumable(settings) if resume else folder.check_new()
    try:
        if resume and (done := folder.finished(settings.optim.epochs)):
            return TrainingResult(folder.path, done if first else {})
        resumed = resume and folder.last.is_file()
        images = folder.recorded_images() if resumed else None
        run = PreparedRun.of(settings, own_model, own_objective, images)
        return _train(run, folder, resumed, (observer if first else None) or NullObserver(), first)
    except KeyboardInterrupt as error:
        raise StoppedError(f"stopped; {folder.kept}") from error


def _train(run: PreparedRun, folder: RunFolder, resumed: bool, observer: Observer, first: bool) -> TrainingResult:
    settings = run.settings
    left_out = LeftOut(observer.skipped)
    left_out.note({skipped.path: skipped.reason for skipped in run.splits.train.skipped})
    if resumed:
        folder.check_data(run.digest)
        before = EpochRecorder.left_out_before(folder.last)
        check_classes(run.splits.train, run.gone, before)
        left_out.note({**run.gone, **before})
    # Before the model, which may take long to make: this refuses hardware that the machine does not have.
    trainer = make_trainer(settings, folder)
    batches = run.batches(0, trainer.world_size)
    # The checkpoint brings the weights: only the shapes of the saved model matter here.
    model = run.saved_model(folder.model) if resumed else run.initial_model(folder.path.name, observer.stage, left_out)
    objective = run.objective(model.dim, model.encoder.weights is not None)
    chosen = settings.model
    learner = Learner(model.encoder, objective, freeze_batch_norm=chosen.freeze_batch_norm, frozen=chosen.frozen)
    recorder = EpochRecorder(folder, model, run.splits.validation, settings, observer, left_out)
    trainer.callbacks.append(recorder)  # type: ignore[attr-defined]
    module = TrainingModule(learner, settings, lambda module: run.loader(module, left_out), len(batches))
    if first:
        folder.begin(settings, RecordedImages.of(run.splits), run.digest, resumed=resumed)
        notices = [notice for notice in (batches.notice, run.splits.notice) if notice]
        notices += run.splits.train.notes
        observer.begin([run.describe(), f"loss: {objective.describe()}"], notices)
    fit(trainer, module, folder, resumed)
    return _conclude(folder, recorder, run, observer) if first else TrainingResult(folder.path, {})


def _conclude(folder: RunFolder, recorder: EpochRecorder, run: PreparedRun, observer: Observer) -> TrainingResult:
    """Measure the saved model on the test half, once, and write the result."""
    best = recorder.rows[recorder.best_epoch()]
    model = run.saved_model(folder.model).to(run.device)
    test, left_out = None, recorder.left_out
    if run.splits.test is not None:
        test = evaluate(run.splits.test, model, shortlists=SHORTLISTS, progress=observer.stage)
        left_out.note({skipped.path: skipped.reason for skipped in test.skipped})
        left_out.settle()
    measured = {name: value for name, value in best.items() if name not in ("images_per_second", "seconds")}
    document = {
        "test": None if test is None else test.to_dict(),
        "validation": None if run.splits.validation is None else measured,
        "best_epoch": best["epoch"],
        "seconds": round(sum(float(row["seconds"] or 0) for row in recorder.rows), 3),
        "skipped": [{"path": skipped.path, "reason": skipped.reason} for skipped in left_out.skipped],
        "settings": run.settings.model_dump(mode="json"),
    }
    folder.write_result(document)
    return TrainingResult(folder.path, document, test)
