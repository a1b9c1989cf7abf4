"""Checkpoints: written whole or not at all, and read without running pickled code."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from diml.errors import TrainingError, first_line


class WholeFiles(CheckpointIO):
    """Lightning's checkpoints as files of tensors and plain values.

    Args:
        write_by: lets a function fill a file that then takes a path's place, see `RunFolder.write_by`.
    """

    def __init__(self, write_by: Callable[[Path, Callable[[IO[bytes]], object]], None]) -> None:
        self._write_by = write_by

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Raises TrainingError where it cannot be written, with the last one kept."""

        # Through memory: on a full disk torch's own writer raises a RuntimeError of another matter.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self._write_by(Path(path), lambda file: file.write(buffer.getbuffer()))

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        """Raises TrainingError where it cannot be read."""
        try:
            state: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except Exception as error:
            raise TrainingError(
                f"{path}: cannot be read as a checkpoint ({first_line(error)}); begin a new run"
            ) from error
        return state

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        Path(path).unlink(missing_ok=True)
