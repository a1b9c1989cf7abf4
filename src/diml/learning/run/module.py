"""The learner on Lightning: one training step, the optimiser and its schedule, and the batches of each epoch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from diml.errors import TrainingError
from diml.learning.batches.seeds import derived
from diml.learning.run.learner import Learner
from diml.learning.run.settings import OptimSettings, TrainingSettings

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
# Keys of the seeds: random layers draw differently in each process, the loss draws the same in all of them.
LAYERS, LOSS = 1, 2


def groups(learner: Learner, optim: OptimSettings) -> list[dict[str, Any]]:
    """Parameter groups with their own learning rates: backbone, head, weights of parts, loss; empty ones are left out.

    The loss's own parameters (margins, proxies) have no weight decay, which would pull a margin to zero.
    """
    head_lr = optim.lr if optim.head_lr is None else optim.head_lr
    encoder = learner.encoder
    found = [
        _group("backbone", encoder.backbone, optim.lr, optim.weight_decay),
        _group("head", encoder.head, head_lr, optim.weight_decay),
        _group("weights", encoder.weights, head_lr, optim.weight_decay),
        _group("loss", learner.objective, optim.loss_lr, 0.0),
    ]
    return [group for group in found if group["params"]]


def _group(name: str, module: nn.Module | None, lr: float, weight_decay: float) -> dict[str, Any]:
    params = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    return {"name": name, "params": params, "lr": lr, "weight_decay": weight_decay}


def factor(optim: OptimSettings, steps_per_epoch: int) -> Callable[[int], float]:
    """The factor of all learning rates as a function of the step: a linear warm-up times the schedule.

    - constant: 1;
    - cosine: `(1 + cos(pi step / steps)) / 2`, which is 0 at the end of the last epoch;
    - step: `step_gamma ** (epoch // step_epochs)`.
    """

    def at(step: int) -> float:
        warm = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
        if optim.schedule == "cosine":
            return warm * (1 + math.cos(math.pi * min(1.0, step / (steps_per_epoch * optim.epochs)))) / 2
        if optim.schedule == "step":
            return float(warm * optim.step_gamma ** (step // steps_per_epoch // optim.step_epochs))
        return warm

    return at


class TrainingModule(LightningModule):
    """The module that Lightning runs.

    Args:
        learner: the encoder and the objective.
        settings: settings of the run.
        batches: called once with this module, returns the batches of this process: an iterable that reads the current
            epoch whenever it is iterated.
        steps: batches of an epoch.
    """

    def __init__(
        self,
        learner: Learner,
        settings: TrainingSettings,
        batches: Callable[[TrainingModule], Iterable[Any]],
        steps: int,
    ) -> None:
        super().__init__()
        self.learner = learner
        self.settings = settings
        self.batches = batches
        self.steps = steps

    def train_dataloader(self) -> Iterable[Any]:
        return self.batches(self)

    def on_train_epoch_start(self) -> None:
        # The encoder is still in evaluation mode from embedding the validation images.
        self.learner.train()

    def training_step(self, batch: tuple[Tensor, Tensor], step: int) -> Tensor:
        """One batch; everything random in it is derived from the seed, the epoch and the step alone.

        Raises:
            TrainingError: the loss or the feature maps are NaN or infinite.
        """
        place = (self.settings.run.seed, self.current_epoch, step)
        torch.manual_seed(derived(*place, LAYERS, self.global_rank))
        try:
            loss: Tensor = self.learner(*batch, derived(*place, LOSS))
        except FloatingPointError:
            raise self._diverged("the feature maps became NaN or infinite", step) from None
        if not torch.isfinite(loss):
            raise self._diverged(f"the loss became {loss.item()}", step)
        return loss

    def _diverged(self, what: str, step: int) -> TrainingError:
        return TrainingError(
            f"{what} in epoch {self.current_epoch + 1}, step {step + 1} of {self.steps}; "
            "try a lower optim.lr or optim.clip=1, in a new run"
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Lightning converts the module to the run's precision only after loading the state.
        if self.settings.run.precision == "64-true":
            self.double()

    def configure_optimizers(self) -> Any:
        optim = self.settings.optim
        extra = {"momentum": 0.9} if optim.optimizer == "sgd" else {}
        optimizer = OPTIMIZERS[optim.optimizer](groups(self.learner, optim), **extra)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor(optim, self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
