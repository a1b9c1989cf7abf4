"""What a worker of a Ray cluster does: it reads and embeds images, with a model that was sent to it."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from safetensors.torch import save as to_bytes
from torch import nn

from diml.errors import DimlError, ModelError
from diml.matching import Matcher
from diml.model import StructuralModel
from diml.model.storage import CONFIG, WEIGHTS
from diml.search.blocks import blocks
from diml.search.engine import Work, changed
from diml.search.items import FileState, Item
from diml.search.row_block import Answer
from diml.search.row_form import RowForm

VERSION = version("diml")


@dataclass(frozen=True)
class SentModel:
    """A model as it travels: its two files as bytes, and the module itself where it is not one of timm's."""

    config: bytes
    weights: bytes
    backbone: nn.Module | None
    backend: str

    @classmethod
    def of(cls, model: StructuralModel) -> SentModel:
        """The matcher stays behind: maps do not depend on it.

        Raises:
            ModelError: the weights of parts have no name.
        """
        config = model.replace(matcher=Matcher()).config()
        # Copies, as safetensors supports no memory that several tensors share.
        state = {
            name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, value in model.encoder.state_dict().items()
        }
        backbone = None if config["backbone"]["kind"] == "timm" else model.encoder.backbone
        return cls(json.dumps(config).encode(), to_bytes(state), backbone, model.encoder.inference.backend)

    def load(self, device: str) -> StructuralModel:
        """The model, by the same checks as one that is loaded from a folder."""
        with tempfile.TemporaryDirectory(prefix="diml-model-") as folder:
            (Path(folder) / CONFIG).write_bytes(self.config)
            (Path(folder) / WEIGHTS).write_bytes(self.weights)
            model = StructuralModel.from_pretrained(folder, backbone=self.backbone)
        return model.to(device).with_backend(self.backend)


@dataclass(frozen=True)
class Setup:
    """What all workers are told once.

    Attributes:
        version: of diml, which has to be the same everywhere.
        folder: the working folder, from which relative paths of images start.
        threads: for the model on a CPU.
    """

    version: str
    folder: str
    model: SentModel
    form: RowForm
    batch_size: int
    threads: int

    @classmethod
    def of(cls, work: Work, threads: int) -> Setup:
        return cls(VERSION, os.getcwd(), SentModel.of(work.model), work.form, work.batch_size, threads)


def task(items: Sequence[Item], hashes: Sequence[str]) -> bytes:
    """Images and the hash of each that is stored, as they travel from process to process; never a file."""
    return pickle.dumps((list(items), list(hashes)))


class Embedder:
    """An actor that embeds tasks. The model is loaded for the first one, so that its errors are answers."""

    def __init__(self, setup: Sequence[Any]) -> None:
        self._reference = setup[0]
        self._loaded: tuple[Setup, StructuralModel] | None = None

    def __call__(self, tasks: pa.Table) -> pa.Table:
        """Columns number, task -> number, about, columns."""
        answers = [self._answer(each) for each in tasks["task"].to_pylist()]
        about = pa.array([answer.about for answer in answers], pa.large_binary())
        columns = pa.array([answer.columns for answer in answers], pa.large_binary())
        return pa.table({"number": tasks["number"], "about": about, "columns": columns})

    def _answer(self, task: bytes) -> Answer:
        try:
            setup, model = self._ready()
            items: list[Item]
            items, hashes = pickle.loads(task)
            left: list[tuple[Item, FileState]] = []
            wanted = changed(zip(items, hashes, strict=True), lambda item, state: left.append((item, state)))
            embedded = list(blocks(model, wanted, setup.batch_size))
            backends = model.backends or ("torch",)
            return Answer.of(items, embedded, setup.form, left, backends if any(map(len, embedded)) else ())
        except DimlError as error:
            return Answer.failed(error)

    def _ready(self) -> tuple[Setup, StructuralModel]:
        if self._loaded is None:
            import ray

            setup: Setup = ray.get(self._reference)
            if setup.version != VERSION:
                raise ModelError(
                    f"expected diml {setup.version} on every machine of the cluster, as here, got {VERSION}; "
                    "install the same version on all of them"
                )
            torch.set_num_threads(setup.threads)
            if os.path.isdir(setup.folder):
                os.chdir(setup.folder)
            self._loaded = setup, setup.model.load("cuda" if torch.cuda.is_available() else "cpu")
        return self._loaded
