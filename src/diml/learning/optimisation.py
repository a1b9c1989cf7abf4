"""Optimisers and schedules: three groups of parameters, one factor over time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from diml.learning.learner import Learner
from diml.learning.settings import OptimSettings

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def groups(learner: Learner, optim: OptimSettings) -> list[dict[str, Any]]:
    """What learns, in groups with learning rates of their own: backbone, head, loss; empty groups are left out.

    The loss's own parameters (margins, proxies) have no weight decay: it would pull a margin to zero.
    """
    head_lr = optim.lr if optim.head_lr is None else optim.head_lr
    encoder = learner.encoder
    found = [
        _group("backbone", encoder.backbone, optim.lr, optim.weight_decay),
        _group("head", encoder.head, head_lr, optim.weight_decay),
        _group("loss", learner.objective, optim.loss_lr, 0.0),
    ]
    return [group for group in found if group["params"]]


def _group(name: str, module: nn.Module | None, lr: float, weight_decay: float) -> dict[str, Any]:
    params = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    return {"name": name, "params": params, "lr": lr, "weight_decay": weight_decay}


def factor(optim: OptimSettings, steps_per_epoch: int) -> Callable[[int], float]:
    """Step to the factor of all learning rates: a linear warm-up times the schedule.

    - constant: 1;
    - cosine: `(1 + cos(pi step / steps)) / 2`, to 0 at the end of the last epoch;
    - step: `step_gamma ** (epoch // step_epochs)`.
    """

    def at(step: int) -> float:
        warm = min(1.0, (step + 1) / optim.warmup_steps) if optim.warmup_steps else 1.0
        if optim.schedule == "cosine":
            return warm * (1 + math.cos(math.pi * min(1.0, step / (steps_per_epoch * optim.epochs)))) / 2
        if optim.schedule == "step":
            return warm * optim.step_gamma ** (step // steps_per_epoch // optim.step_epochs)
        return warm

    return at
