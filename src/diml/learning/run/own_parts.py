"""A model and an objective that the caller passes to `train`, in place of those that the settings name."""

from __future__ import annotations

from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import nn

from diml.errors import UsageError
from diml.learning.losses.library_objective import LibraryObjective
from diml.learning.losses.objective import Objective
from diml.learning.run.settings import LossSettings, ModelSettings, TrainingSettings
from diml.model import StructuralModel, head_dim

# Prefix of `model.name` and `loss.name` in the recorded settings of a run whose model or objective was passed.
OWN = "own:"


def as_objective(loss: nn.Module) -> Objective:
    """Return an objective unchanged, and wrap a loss of pytorch-metric-learning as one.

    Raises:
        UsageError: the module is neither.
    """
    if isinstance(loss, Objective):
        return loss
    if isinstance(loss, BaseMetricLossFunction):
        return LibraryObjective(loss)
    raise UsageError(f"expected an Objective or a loss of pytorch-metric-learning, got {type(loss).__name__}")


def recorded(
    settings: TrainingSettings, model: StructuralModel | None, objective: Objective | None
) -> TrainingSettings:
    """The settings as the run records them: the names and the sizes of the passed parts in place of the defaults.

    Raises:
        UsageError: a setting names what was passed as well, or the run was begun with a part that is not passed now.
    """
    update = {"model": _model(settings.model, model), "loss": _loss(settings.loss, objective)}
    return settings.model_copy(update=update)


def _model(settings: ModelSettings, model: StructuralModel | None) -> ModelSettings:
    name = _name(settings, "model", None if model is None else OWN + model.name)
    if model is None:
        return settings
    encoder = model.encoder
    dim = head_dim(None, encoder.channels) if encoder.head is None else encoder.head.out_features
    own = {"dim": dim, "grid": model.grid, "resampling": encoder.resampling}
    unset = {key: value for key, value in own.items() if key not in settings.model_fields_set}
    return settings.model_copy(update={"name": name, **unset})


def _loss(settings: LossSettings, objective: Objective | None) -> LossSettings:
    name = _name(settings, "loss", None if objective is None else OWN + objective.describe())
    if objective is not None and settings.options:
        raise UsageError("loss.options and objective= cannot be combined; set the options of the objective itself")
    return settings.model_copy(update={"name": name})


def _name(settings: ModelSettings | LossSettings, section: str, own: str | None) -> str:
    """The name to record: that of the passed part, or else the one in the settings."""
    argument = "model" if section == "model" else "objective"
    if settings.name.startswith(OWN) and settings.name != own:
        got = "none" if own is None else own.removeprefix(OWN)
        raise UsageError(
            f"expected the {argument} that the run was begun with, {settings.name.removeprefix(OWN)}, got {got}; "
            f"pass it again, as train(..., {argument}=...)"
        )
    if own is None:
        return settings.name
    if "name" in settings.model_fields_set and settings.name != own:
        raise UsageError(f"{section}.name = {settings.name!r} and {argument}= cannot be combined; use one of them")
    return own
