"""What a run is made of, prepared from its settings: splits, batches, objective, and the model to start from."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from diml.data import open_dataset
from diml.errors import ModelError, UsageError
from diml.evaluation.task import Task
from diml.learning.batches.left_out import LeftOut
from diml.learning.batches.loading import EpochLoader
from diml.learning.batches.sampling import ClassBatches
from diml.learning.batches.seeds import derived, seeded
from diml.learning.batches.splits import Splits, split_collection
from diml.learning.batches.training_images import TrainingImages
from diml.learning.losses.objective import Objective
from diml.learning.losses.registry import build_objective
from diml.learning.run.initial_model import Stage, bare_model, fit_head
from diml.learning.run.module import TrainingModule
from diml.learning.run.recorded_images import RecordedImages
from diml.learning.run.settings import TrainingSettings
from diml.model import StructuralModel

# Key of the seed of the objective's initial parameters.
OBJECTIVE = 203


@dataclass(frozen=True)
class PreparedRun:
    """What the settings stand for, the same in every process.

    Attributes:
        settings: settings of the run.
        splits: training, validation and test classes.
        own_model: the model that the caller passed; None for the model that the settings name.
        own_objective: the objective that the caller passed; None for the loss that the settings name.
        gone: the images of a resumed run that are no longer there, by path, each with its reason.
    """

    settings: TrainingSettings
    splits: Splits
    own_model: StructuralModel | None = None
    own_objective: Objective | None = None
    gone: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(
        settings: TrainingSettings,
        model: StructuralModel | None = None,
        objective: Objective | None = None,
        recorded: RecordedImages | None = None,
    ) -> PreparedRun:
        """Open the data, and refuse what cannot work before anything slow is loaded.

        `recorded` are the images of the run that is resumed.
        """
        collection = open_dataset(settings.data.spec)
        if recorded is None:
            gone, splits = {}, split_collection(collection, settings.data)
        else:
            gone, splits = recorded.gone(collection), recorded.splits(collection)
        run = PreparedRun(settings, splits, model, objective, gone)
        run.batches()
        run.objective(settings.model.dim)
        for part in (splits.validation, splits.test):
            if part is not None:
                Task.of(part.known_labels)
        return run

    @property
    def labels(self) -> list[str]:
        """The class of each training image."""
        return self.splits.train.known_labels

    def batches(self, rank: int = 0, world: int = 1) -> ClassBatches:
        """The batches of one of `world` processes."""
        data = self.settings.data
        limit = self.settings.optim.batches_per_epoch
        seed = self.settings.run.seed
        return ClassBatches(self.labels, data.batch, data.per_class, seed, limit, rank, world)

    @property
    def digest(self) -> str:
        """Digest of the names and classes of the training and validation images, which identify the run's data."""
        parts = (self.splits.train, self.splits.validation)
        held = [None if part is None else [list(part.paths), part.known_labels] for part in parts]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]

    def describe(self) -> str:
        """One line about the data."""
        parts = {"training": self.splits.train, "validation": self.splits.validation, "test": self.splits.test}
        counts = [
            f"{len(part)} {what} images of {len(set(part.known_labels))} classes"
            for what, part in parts.items()
            if part
        ]
        return f"{self.splits.train.name}: {', '.join(counts)}"

    def objective(self, dim: int, weighted: bool = False) -> Objective:
        """The objective, with the same initial parameters in every process, for weighted maps or others."""
        if self.own_objective is not None:
            return copy.deepcopy(self.own_objective)
        loss = self.settings.loss
        with seeded(derived(self.settings.run.seed, OBJECTIVE)):
            return build_objective(
                loss.name,
                similarity=loss.similarity,
                classes=len(set(self.labels)),
                dim=dim,
                grid=self.settings.model.grid,
                marginals=loss.marginals,
                weight=loss.weight,
                eps=loss.eps,
                options=loss.options,
                weighted=weighted,
            )

    def initial_model(self, name: str, stage: Stage | None = None, left_out: LeftOut | None = None) -> StructuralModel:
        """The model that training starts from, with a head, on the CPU; `left_out` is told about unreadable images."""
        model = bare_model(self.settings, name, self.own_model)
        unread: dict[str, str] = {}
        if not model.head_fitted:
            model.to(self.device)
            unread = fit_head(model, self.splits.train, self.settings, stage)
        if left_out is not None:
            left_out.note(unread)
        model.head_fitted_on = f"{len(self.splits.train) - len(unread)} training images of {self.splits.train.name}"
        if model.encoder.weights is not None and list(model.encoder.weights.parameters()):
            model.weights_fitted_on = model.head_fitted_on
        return model.cpu()

    def saved_model(self, folder: os.PathLike[str]) -> StructuralModel:
        """A model that this run has saved.

        Raises:
            ModelError: it cannot be loaded.
            UsageError: the caller passed another model than the run was begun with.
        """
        if self.own_model is None:
            return StructuralModel.from_pretrained(folder)
        try:
            return StructuralModel.from_pretrained(folder, backbone=copy.deepcopy(self.own_model.encoder.backbone))
        except ModelError as error:
            raise UsageError(
                f"expected the model that the run was begun with, got one that does not fit its weights ({error})"
            ) from error

    def loader(self, module: TrainingModule, left_out: LeftOut) -> EpochLoader:
        """The training batches of the process that runs the module."""
        preprocessing = module.learner.encoder.preprocessing
        images = TrainingImages(self.splits.train, preprocessing, self.settings.data, self.settings.run.seed)
        batches = self.batches(module.trainer.global_rank, module.trainer.world_size)
        return EpochLoader(images, batches, lambda: module.current_epoch, self.settings.data.workers, left_out)

    @property
    def device(self) -> torch.device:
        """The device this process will train on, as far as it is known before Lightning starts."""
        if self.settings.run.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        return torch.device("cpu")
