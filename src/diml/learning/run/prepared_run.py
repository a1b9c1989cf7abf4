"""What the settings of a run come to: the parts of the data, the batches, the objective, the model to begin with."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass

import torch

from diml.data import open_dataset
from diml.evaluation.task import Task
from diml.learning.batches.loading import EpochLoader, TrainingImages
from diml.learning.batches.sampling import ClassBatches
from diml.learning.batches.seeds import derived, seeded
from diml.learning.batches.splits import Splits, split_collection
from diml.learning.losses.objective import Objective
from diml.learning.losses.registry import build_objective
from diml.learning.run.initial_model import Stage, bare_model, fit_head
from diml.learning.run.module import TrainingModule
from diml.learning.run.settings import TrainingSettings
from diml.model import StructuralModel

# A kind of random numbers, unrelated to those of the model that training begins with.
OBJECTIVE = 203


@dataclass(frozen=True)
class PreparedRun:
    """What is made of the settings, the same in every process.

    Attributes:
        settings: of the run.
        splits: of the collection that they name.
    """

    settings: TrainingSettings
    splits: Splits

    @staticmethod
    def of(settings: TrainingSettings) -> PreparedRun:
        """Refuses what cannot work before anything is loaded that takes long."""
        plan = PreparedRun(settings, split_collection(open_dataset(settings.data.spec), settings.data))
        plan.batches()
        plan.objective(settings.model.dim)
        for part in (plan.splits.validation, plan.splits.test):
            if part is not None:
                Task.of(part.known_labels)
        return plan

    @property
    def labels(self) -> list[str]:
        return self.splits.train.known_labels

    def batches(self, rank: int = 0, world: int = 1) -> ClassBatches:
        data = self.settings.data
        limit = self.settings.optim.batches_per_epoch
        seed = self.settings.run.seed
        return ClassBatches(self.labels, data.batch, data.per_class, seed, limit, rank, world)

    @property
    def digest(self) -> str:
        """Of the names and classes of the images to learn from and to choose by: other ones make another run."""
        parts = (self.splits.train, self.splits.validation)
        held = [None if part is None else [list(part.paths), part.known_labels] for part in parts]
        return hashlib.sha256(json.dumps(held).encode()).hexdigest()[:16]

    def describe(self) -> str:
        """One line about the data."""
        parts = {
            "to learn from": self.splits.train,
            "to choose by": self.splits.validation,
            "to test": self.splits.test,
        }
        counts = [
            f"{len(part)} images of {len(set(part.known_labels))} classes {what}"
            for what, part in parts.items()
            if part
        ]
        return f"{self.splits.train.name}: {', '.join(counts)}"

    def objective(self, dim: int) -> Objective:
        """With the same random beginning in every process."""
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
            )

    def begin(self, name: str, stage: Stage | None = None) -> StructuralModel:
        """The model that training begins with."""
        model = bare_model(self.settings, name)
        if not model.head_fitted:
            model.to(self.device)
            fit_head(model, self.splits.train, self.settings, stage)
        model.head_fitted_on = f"{len(self.splits.train)} training images of {self.splits.train.name}"
        return model.cpu()

    def loader(self, module: TrainingModule) -> EpochLoader:
        preprocessing = module.learner.encoder.preprocessing
        images = TrainingImages(self.splits.train, preprocessing, self.settings.data, self.settings.run.seed)
        batches = self.batches(module.trainer.global_rank, module.trainer.world_size)
        return EpochLoader(images, batches, lambda: module.current_epoch, self.settings.data.workers)

    @property
    def device(self) -> torch.device:
        """Where this process will train, as far as is known before Lightning starts."""
        if self.settings.run.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
            return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        return torch.device("cpu")
