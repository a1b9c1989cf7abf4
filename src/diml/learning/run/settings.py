"""The settings of a training run, section by section: what each may be, and what it is where nobody says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from diml.embedding import RESAMPLINGS
from diml.errors import DimlError
from diml.evaluation import METRICS
from diml.matching import MARGINALS
from diml.matching.defaults import EPS, WEIGHT

try:
    from pydantic import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        NonNegativeFloat,
        NonNegativeInt,
        PositiveFloat,
        PositiveInt,
        field_validator,
        model_validator,
    )
except ImportError:
    raise DimlError("settings take pydantic, which is not installed; pip install 'diml[train]'") from None


def _listed(value: Any) -> Any:
    """A list as text, as it comes from a command line: `0.2,1`."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _sides(value: Any) -> Any:
    """Rows and columns as on a command line: `4` or `4x6`."""
    sides = value.lower().split("x") if isinstance(value, str) else value
    if isinstance(sides, int):
        return sides, sides
    if not isinstance(sides, list | tuple) or not 1 <= len(sides) <= 2:
        raise ValueError("rows and columns, such as 4x4")
    return sides[0], sides[-1]


def _number(value: Any) -> Any:
    """Text that reads as a number as that number."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Grid = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_sides)]
Span = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_listed)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Option = Annotated[float | str, BeforeValidator(_number)]
Share = Annotated[float, Field(ge=0, le=1)]


def _one_of(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    if name not in known:
        raise ValueError(f"one of {', '.join(known)}")
    return name


class Section(BaseModel):
    """One table of the file: nothing unknown in it, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        """TOML knows no empty value; on a command line it is called none."""
        return None if value == "none" else value


class DataSettings(Section):
    """Which images, and what becomes of them.

    Attributes:
        spec: what `diml.data.open_dataset` takes.
        split_seed: draws the validation classes.
        validation: share of the training *classes* held out to choose the checkpoint, 0 up to 1; 0 keeps the last one.
        batch: images of a batch, of all processes together.
        per_class: images of each class in it.
        crop_scale: smallest and largest share of an image's area that a training crop keeps.
        flip: whether every other training image is mirrored.
        fit: how images are prepared outside of training: `"whole"` resizes all of the image, `"crop"` resizes the
            shorter side to 8/7 of the size (256 for 224) and keeps the centre.
        size: height and width of the input in pixels; None for the model's own.
        workers: processes that decode; 0 decodes in the training process.
    """

    spec: str = Field(min_length=1)
    split_seed: NonNegativeInt = 0
    validation: float = Field(0.2, ge=0, lt=1)
    batch: PositiveInt = 112
    per_class: int = Field(2, ge=2)
    crop_scale: Span = (0.2, 1.0)
    flip: bool = True
    fit: Literal["whole", "crop"] = "whole"
    size: PositiveInt | None = None
    workers: NonNegativeInt = 2

    @field_validator("crop_scale")
    @classmethod
    def _rising(cls, span: tuple[float, float]) -> tuple[float, float]:
        if not span[0] <= span[1] <= 1:
            raise ValueError("two shares of the area, the smaller first, above 0 and up to 1")
        return span

    @model_validator(mode="after")
    def _whole_classes(self) -> DataSettings:
        if self.batch % self.per_class or self.batch == self.per_class:
            raise ValueError(
                f"data.batch = {self.batch} came with data.per_class = {self.per_class}; expected a batch of at least "
                f"two whole classes, such as {self.per_class * max(2, self.batch // self.per_class)}"
            )
        return self


class ModelSettings(Section):
    """What training begins with.

    Attributes:
        name: what `StructuralModel.from_pretrained` takes.
        dim: numbers per part, of the head.
        head: how a model without a head gets one: `"whitening"` of the training images, or a `"random"` projection.
        grid: rows and columns of the matching grid.
        resampling: the way to that grid, see `diml.embedding.RESAMPLINGS`.
        freeze_batch_norm: keep batch normalisation as it is.
        frozen: prefixes of names of backbone modules whose parameters do not learn.
    """

    name: str = "lite0"
    dim: PositiveInt = 128
    head: Literal["whitening", "random"] = "whitening"
    grid: Grid = (4, 4)
    resampling: str = "area"
    freeze_batch_norm: bool = True
    frozen: Names = ()

    @field_validator("resampling")
    @classmethod
    def _known(cls, name: str) -> str:
        return _one_of(name, RESAMPLINGS)


class LossSettings(Section):
    """What is minimised.

    Attributes:
        name: of a loss in `diml.learning.LOSSES`.
        similarity: what it compares images by: matched parts, or pooled vectors.
        marginals, weight, eps: of the structural similarity, see `diml.matching.Matcher`.
        options: further settings of the loss, by name.
    """

    name: str = "margin"
    similarity: Literal["structural", "pooled"] = "structural"
    marginals: str = "cross_correlation"
    weight: Share = WEIGHT
    eps: PositiveFloat = EPS
    options: dict[str, Option] = Field(default_factory=dict)

    @field_validator("marginals")
    @classmethod
    def _known(cls, name: str) -> str:
        return _one_of(name, MARGINALS)


class OptimSettings(Section):
    """How it is minimised.

    Attributes:
        optimizer: adam, adamw or sgd.
        epochs: passes over the training classes.
        lr: learning rate of the backbone.
        head_lr: of the head; None for the backbone's.
        loss_lr: of the loss's own parameters, such as margins and proxies.
        weight_decay: of backbone and head.
        schedule: `"constant"`, `"cosine"` down to 0, or `"step"`.
        step_epochs, step_gamma: every so many epochs the rates are multiplied by so much, for `"step"`.
        warmup_steps: batches in which the rates rise to their values.
        clip: largest norm of the gradient; None does not clip.
        batches_per_epoch: None for as many as fit into the training images.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    epochs: PositiveInt = 30
    lr: PositiveFloat = 1e-5
    head_lr: PositiveFloat | None = None
    loss_lr: PositiveFloat = 5e-4
    weight_decay: NonNegativeFloat = 4e-4
    schedule: Literal["constant", "cosine", "step"] = "constant"
    step_epochs: PositiveInt = 10
    step_gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    warmup_steps: NonNegativeInt = 0
    clip: PositiveFloat | None = None
    batches_per_epoch: PositiveInt | None = None


class RunSettings(Section):
    """Where it runs, and what is kept.

    Attributes:
        seed: of everything random but the choice of the validation classes.
        precision: Lightning's name of it.
        devices: how many of each machine, or `"auto"` for all.
        nodes: machines.
        accelerator: Lightning's name of it.
        strategy: None, or `"ddp"` to have one with a single device too.
        select: the metric of the validation classes that chooses the checkpoint.
        shortlist: images that this validation re-ranks by matched parts, 0 for the pooled ranking. Left out it is 100,
            or 0 where the loss compares pooled vectors.
    """

    seed: NonNegativeInt = 0
    precision: Literal["32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"] = "32-true"
    devices: PositiveInt | Literal["auto"] = 1
    nodes: PositiveInt = 1
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    strategy: Literal["ddp"] | None = None
    select: Annotated[str, AfterValidator(lambda name: _one_of(name, METRICS))] = "map@r"
    shortlist: NonNegativeInt = 100


class TrainingSettings(Section):
    """All settings of a run, a section each.

    Where the loss compares pooled vectors, `run.shortlist` is 0 unless it is said.

    >>> settings = TrainingSettings(data={"spec": "photos"}, model={"grid": "2x2"}, loss={"similarity": "pooled"})
    >>> settings.model.grid, settings.loss.name, settings.run.shortlist
    ((2, 2), 'margin', 0)
    """

    data: DataSettings
    model: ModelSettings = Field(default_factory=ModelSettings)
    loss: LossSettings = Field(default_factory=LossSettings)
    optim: OptimSettings = Field(default_factory=OptimSettings)
    run: RunSettings = Field(default_factory=RunSettings)

    @model_validator(mode="before")
    @classmethod
    def _validated_as_trained(cls, given: Any) -> Any:
        """A model that was trained on pooled vectors is chosen by their ranking."""
        match given:
            case {"loss": {"similarity": "pooled"}, "run": {"shortlist": _}}:
                return given
            case {"loss": {"similarity": "pooled"}} if isinstance(given.get("run", {}), dict):
                return {**given, "run": {**given.get("run", {}), "shortlist": 0}}
        return given

    def to_toml(self) -> str:
        """As a file that `load_settings` reads back to the same settings; what is None is left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(exclude_none=True))
