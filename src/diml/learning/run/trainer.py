"""Lightning's trainer for a run: no output of its own, atomic checkpoints, and errors that say how to continue."""

from __future__ import annotations

import io
import logging
import os
import signal
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy

from diml.errors import DatasetError, ImageError, ModelError, TrainingError, UsageError, first_line
from diml.learning.run.folder import RunFolder
from diml.learning.run.module import TrainingModule
from diml.learning.run.settings import RunSettings, TrainingSettings

# The other processes wait this long while the first one measures the validation classes.
PATIENCE = timedelta(hours=12)


class AtomicCheckpoints(CheckpointIO):
    """Lightning's checkpoints, written atomically and read without executing pickled code.

    Args:
        write_by: writes a file atomically by a function that fills it, see `RunFolder.write_by`.
    """

    def __init__(self, write_by: Callable[[Path, Callable[[IO[bytes]], object]], None]) -> None:
        self._write_by = write_by

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Raises TrainingError if it cannot be written; the previous checkpoint remains."""

        # Through memory: on a full disk, torch's own writer raises a RuntimeError that does not name the cause.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self._write_by(Path(path), lambda file: file.write(buffer.getbuffer()))

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Raises TrainingError if it cannot be read."""
        return read_checkpoint(path, map_location)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)


def read_checkpoint(
    path: str | os.PathLike[str], map_location: Any | None = None, *, mmap: bool = False
) -> dict[str, Any]:
    """A checkpoint as a dictionary; with `mmap`, its tensors are read when they are used.

    Raises:
        TrainingError: it cannot be read.
    """
    if os.path.isfile(path) and not zipfile.is_zipfile(path):
        raise TrainingError(f"{path}: is not a checkpoint, or its end is missing; copy it again, or begin a new run")
    try:
        state: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        raise TrainingError(f"{path}: cannot be read as a checkpoint ({first_line(error)}); begin a new run") from error
    return state


def make_trainer(settings: TrainingSettings, folder: RunFolder) -> Trainer:
    """The trainer for these settings.

    Raises:
        UsageError: this machine does not have the accelerator, devices or precision.
    """
    run = settings.run
    devices, nodes = run.devices, run.nodes
    if torch.distributed.is_torchelastic_launched():
        # torchrun decides: with other numbers, every process would train by itself.
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        devices, nodes = local, int(os.environ["WORLD_SIZE"]) // local
    several = run.strategy == "ddp" or devices != 1 or nodes > 1
    with _quiet(), _as_usage(run):
        return Trainer(
            max_epochs=settings.optim.epochs,
            precision=run.precision,
            accelerator=run.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=DDPStrategy(timeout=PATIENCE) if several else "auto",
            gradient_clip_val=settings.optim.clip,
            plugins=[AtomicCheckpoints(folder.write_by)],
            default_root_dir=folder.path,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )


def fit(trainer: Trainer, module: TrainingModule, folder: RunFolder, resumed: bool) -> None:
    """Train.

    Raises:
        TrainingError: the message says what was saved.
        KeyboardInterrupt: the run was stopped.
    """
    try:
        with _quiet(), _signal_handlers():
            trainer.fit(module, ckpt_path=folder.last if resumed else None, weights_only=True)
    except SystemExit as error:
        # Lightning turns Ctrl-C and SIGTERM into this.
        raise KeyboardInterrupt from error
    except (TrainingError, ModelError) as error:
        said = str(error)
        raise error if folder.kept in said else TrainingError(f"{said}; {folder.kept}") from error
    except (DatasetError, ImageError) as error:
        raise type(error)(f"{error}; {folder.kept}") from error
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the memory of the accelerator is too small for this batch ({first_line(error)}); in a new run set a "
            f"smaller data.batch, data.size or run.precision, or more run.devices; {folder.kept}"
        ) from error
    except RuntimeError as error:
        if str(error).startswith("DataLoader worker"):
            # A signal to all processes of a job reaches the processes that load images first.
            if trainer.received_sigterm:
                raise KeyboardInterrupt from error
            raise TrainingError(
                f"a process that loads images has ended ({first_line(error)}); in a new run set fewer data.workers; "
                f"{folder.kept}"
            ) from error
        if not _process_lost(error):
            raise
        raise TrainingError(
            f"another process of this run has ended, see its own message, and training cannot continue without it; "
            f"{folder.kept}"
        ) from error
    except OSError as error:
        raise TrainingError(f"{folder.path}: cannot be written ({error.strerror or error}); {folder.kept}") from error
    finally:
        _end_the_others(trainer)


@contextmanager
def _signal_handlers() -> Iterator[None]:
    """Restore the handlers of SIGINT and SIGTERM, in which Lightning leaves its own, or ignores further signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            # Handlers cannot be set outside the main thread, nor can those that were not installed from Python.
            with suppress(ValueError, TypeError):
                signal.signal(number, handler)


def _process_lost(error: RuntimeError) -> bool:
    """Whether the error says that another process has ended; Gloo has no exception type for it."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def _end_the_others(trainer: Trainer) -> None:
    """End the processes that this one has started; after a successful run they have ended by themselves."""
    for process in getattr(trainer.strategy.launcher, "procs", ()):
        try:
            process.wait(timeout=30 if trainer.state.finished else 0.1)
        except Exception:
            process.terminate()


@contextmanager
def _as_usage(run: RunSettings) -> Iterator[None]:
    """Turn Lightning's complaint about missing hardware into a UsageError."""
    try:
        yield
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise UsageError(
            f"this machine does not support run.accelerator = {run.accelerator!r}, run.devices = {run.devices!r} and "
            f"run.precision = {run.precision!r} ({first_line(error)}); set others"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's notices: diml reports what users should know itself."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
