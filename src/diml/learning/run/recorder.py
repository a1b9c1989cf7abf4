"""The end of an epoch: measure the validation classes; save the best model, the checkpoint and the metrics."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from lightning.pytorch import Callback, Trainer

from diml.data import Collection, Skipped
from diml.errors import TrainingError
from diml.evaluation import METRICS, evaluate
from diml.learning.batches.left_out import LeftOut
from diml.learning.run.curves import draw_curves
from diml.learning.run.folder import EpochRow, RunFolder
from diml.learning.run.module import TrainingModule
from diml.learning.run.settings import TrainingSettings
from diml.learning.run.trainer import read_checkpoint
from diml.model import StructuralModel

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Observer(Protocol):
    """Receives the progress of a run, for instance to draw a progress bar."""

    def begin(self, lines: Sequence[str], notices: Sequence[str]) -> None:
        """Training starts: one line each on the data and the loss, and notices about the data."""

    def skipped(self, images: Sequence[Skipped]) -> None:
        """Images that the run leaves out, and why; each is reported once."""

    def stage(self, what: str, done: int, total: int) -> None:
        """Work other than training steps: a description, the number of images done, and the number in total."""

    def step(self, epoch: int, loss: float, done: int, total: int) -> None:
        """A training step: the epoch from 1, its mean loss so far, images done in the run, and images in total."""

    def epoch(self, row: EpochRow) -> None:
        """An epoch was saved; epoch 0 is the model before training."""


class NullObserver:
    """Null observer."""

    def begin(self, lines: Sequence[str], notices: Sequence[str]) -> None: ...

    def skipped(self, images: Sequence[Skipped]) -> None: ...

    def stage(self, what: str, done: int, total: int) -> None: ...

    def step(self, epoch: int, loss: float, done: int, total: int) -> None: ...

    def epoch(self, row: EpochRow) -> None: ...


class EpochRecorder(Callback):
    """Saves the run: a row of metrics for each epoch, the best model, and the checkpoint to resume from.

    The rows are part of the checkpoint: a run that is killed while it saves an epoch repeats that epoch when it is
    resumed, with the same metrics.

    Args:
        folder: the run folder.
        model: shares its encoder with the learner.
        validation: the validation classes; None to treat the last model as the best.
        settings: settings of the run.
        observer: told about the progress.
        left_out: the images that the run leaves out; told about validation images that cannot be read.
    """

    def __init__(
        self,
        folder: RunFolder,
        model: StructuralModel,
        validation: Collection | None,
        settings: TrainingSettings,
        observer: Observer,
        left_out: LeftOut,
    ) -> None:
        self.folder, self.model, self.settings, self.observer = folder, model, settings, observer
        self.left_out = left_out
        # An evaluation would leave out images of split "train", which these are.
        self.validation = None if validation is None else dataclasses.replace(validation, splits=None)
        self.rows: list[EpochRow] = []
        self._writer: SummaryWriter | None = None

    # --- called by Lightning ---

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        if trainer.is_global_zero:
            self._writer = self._open_writer()
            if not self.rows:
                self.rows.append(self._row(trainer, 0, None, 0.0, 0))
                self._log(self.rows[-1])
            # Also after a resume: the run may have been killed between the checkpoint and the model.
            self._keep_best()
            self._show()
        trainer.strategy.barrier()
        self.left_out.join()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._began, self._losses, self._images = time.perf_counter(), 0.0, 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = float(outputs["loss"])
        self._losses += loss
        self._images += len(batch[1]) * trainer.world_size
        if trainer.is_global_zero:
            step, size = trainer.global_step, self.settings.data.batch
            mean = self._losses / (batch_idx + 1)
            total = self.settings.optim.epochs * pl_module.steps * size
            self.observer.step(trainer.current_epoch + 1, mean, step * size, total)
            if self._writer is not None:
                self._writer.add_scalar("step/loss", loss, step)
                for group in trainer.optimizers[0].param_groups:
                    self._writer.add_scalar(f"lr/{group['name']}", group["lr"], step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        seconds = time.perf_counter() - self._began
        self._check_finite(trainer, pl_module)
        if trainer.is_global_zero:
            loss = self._losses / pl_module.steps
            self.rows.append(self._row(trainer, trainer.current_epoch + 1, loss, seconds, self._images))
        self.left_out.join()
        # In every process, as Lightning's state may be spread over them; only the first process writes.
        trainer.save_checkpoint(self.folder.last)
        if trainer.is_global_zero:
            self._keep_best()
            self._log(self.rows[-1])
            self._show()
        trainer.strategy.barrier()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "left_out": self.left_out.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = state_dict["rows"]

    @classmethod
    def left_out_before(cls, checkpoint: Path) -> dict[str, str]:
        """The images that a run had left out when it wrote the checkpoint, by path, each with its reason.

        Raises:
            TrainingError: it is not the checkpoint of a run.
        """
        try:
            return dict(read_checkpoint(checkpoint, mmap=True)["callbacks"][cls.__qualname__].get("left_out", {}))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise TrainingError(f"{checkpoint}: is not the checkpoint of a run; begin a new run") from error

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        if self._writer is not None:
            self._writer.close()

    def best_epoch(self) -> int:
        """The first epoch with the best validation metric; without validation classes, the last epoch."""
        if self.validation is None:
            return len(self.rows) - 1
        return max(range(len(self.rows)), key=lambda epoch: cast(float, self.rows[epoch][self.settings.run.select]))

    def _keep_best(self) -> None:
        """Save the current model if it is the best so far.

        Called after the checkpoint is written, from which the model can be restored. In the other order, the saved
        model might belong to an epoch that is lost and has another outcome when it is repeated.
        """
        if self.best_epoch() == len(self.rows) - 1:
            self.model.save_pretrained(self.folder.model)

    def _row(self, trainer: Trainer, epoch: int, loss: float | None, seconds: float, images: int) -> EpochRow:
        measured: dict[str, Any] = dict.fromkeys(METRICS)
        if self.validation is not None:
            found = self._measure(self.validation)
            measured = {name: found[name] for name in METRICS}
        rate = round(images / seconds, 1) if images else None
        step = trainer.global_step if epoch else 0
        before = {"epoch": epoch, "step": step, "train_loss": loss, "images_per_second": rate}
        return {**before, "seconds": round(seconds, 3), **measured}

    def _measure(self, validation: Collection) -> dict[str, Any]:
        shortlist, model = self.settings.run.shortlist, self.model
        if next(model.parameters()).dtype != torch.float32:
            # Trained in another precision, but saved, loaded and used in float32.
            model = copy.deepcopy(model).float()
        result = evaluate(validation, model, shortlists=[shortlist], progress=self.observer.stage)
        self.left_out.note({skipped.path: skipped.reason for skipped in result.skipped})
        return dict(result.results[0])

    def _show(self) -> None:
        """Update the metrics file and the curves."""
        self.folder.write_rows(self.rows)
        best = None if self.validation is None else self.best_epoch()
        select = self.settings.run.select
        draw_curves(self.rows, select, best, lambda save: self.folder.write_by(self.folder.curves, save))
        self.observer.epoch(self.rows[-1])

    def _log(self, row: EpochRow) -> None:
        if self._writer is not None:
            for name, value in row.items():
                if value is not None and name not in ("epoch", "step"):
                    group = "validation" if name in METRICS else "epoch"
                    self._writer.add_scalar(f"{group}/{name}", value, row["step"])
            self._writer.flush()

    def _check_finite(self, trainer: Trainer, module: TrainingModule) -> None:
        """Called before anything is saved: the last step of an epoch may have broken parameters after the last loss."""
        for name, parameter in module.learner.named_parameters():
            if not parameter.isfinite().all():
                raise TrainingError(
                    f"{name} became NaN or infinite in epoch {trainer.current_epoch + 1}; try a lower optim.lr or "
                    f"optim.clip=1, in a new run"
                )

    def _open_writer(self) -> SummaryWriter:
        from torch.utils.tensorboard import SummaryWriter

        # Events after the step from which the run continues belong to an epoch that was not saved.
        step = int(self.rows[-1]["step"] or 0) + 1 if self.rows else None
        return SummaryWriter(str(self.folder.tensorboard), purge_step=step)
