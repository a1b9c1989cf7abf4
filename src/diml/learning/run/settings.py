"""The settings of a training run: sections, ranges and defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from diml.embedding import RESAMPLINGS, parse_weights
from diml.embedding.part_weights import depends_on_collection
from diml.errors import DimlError
from diml.evaluation import METRICS
from diml.matching import MARGINALS, OF_PARTS
from diml.matching.defaults import EPS, WEIGHT

try:
    from pydantic import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        NonNegativeInt,
        PositiveFloat,
        PositiveInt,
        field_validator,
        model_validator,
    )
except ImportError:
    raise DimlError("settings need pydantic, which is not installed; pip install 'diml[train]'") from None


def _listed(value: Any) -> Any:
    """Split a list given as text on a command line: `0.2,1`."""
    return [part for part in value.split(",") if part] if isinstance(value, str) else value


def _span(value: Any) -> Any:
    """Two numbers, also as text on a command line: `0.2,1`."""
    span = _listed(value)
    if not isinstance(span, list | tuple) or len(span) != 2:
        raise ValueError("two numbers, such as 0.2,1")
    return span


def _sides(value: Any) -> Any:
    """Rows and columns from text on a command line: `4` or `4x6`."""
    sides = value.lower().split("x") if isinstance(value, str) else value
    if isinstance(sides, int):
        return sides, sides
    if not isinstance(sides, list | tuple) or not 1 <= len(sides) <= 2:
        raise ValueError("rows and columns, such as 4x4")
    return sides[0], sides[-1]


def _number(value: Any) -> Any:
    """Convert text to a number if possible."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Grid = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_sides)]
Span = Annotated[tuple[PositiveFloat, PositiveFloat], BeforeValidator(_span)]
Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Option = Annotated[float | str, BeforeValidator(_number)]
# float32 holds no larger number than 3e38; a rate is far below.
Rate = Annotated[float, Field(gt=0, le=1e6)]
Share = Annotated[float, Field(ge=0, le=1)]


def _one_of(name: str, known: Mapping[str, object] | Sequence[str]) -> str:
    if name not in known:
        raise ValueError(f"one of {', '.join(known)}")
    return name


class Section(BaseModel):
    """One table of the file: unknown keys are refused, values cannot be changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _nothing(cls, value: Any) -> Any:
        """TOML has no empty value; it is written as "none"."""
        return None if value == "none" else value


class DataSettings(Section):
    """The images, and how they are prepared.

    Attributes:
        spec: the data, as `diml.data.open_dataset` takes it.
        split_seed: seed that draws the validation classes.
        validation: share of the training *classes* held out to choose the best epoch, 0 <= share < 1; with 0 the last
            epoch is kept.
        batch: images in a batch, over all processes.
        per_class: images of each class in a batch, at least 2.
        crop_scale: smallest and largest share of an image's area that a training crop keeps.
        flip: whether half of the training images, chosen at random, are mirrored.
        fit: how images are prepared outside training: `"whole"` resizes the whole image, `"crop"` resizes the shorter
            side to 8/7 of the size (256 for 224) and keeps the centre.
        size: height and width of the input in pixels; None for the model's own.
        workers: processes that decode images; 0 decodes in the training process.
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
    workers: Annotated[int, Field(ge=0, le=1024)] = 2

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
                f"expected data.batch to be at least two whole classes of data.per_class = {self.per_class}, such as "
                f"{self.per_class * max(2, self.batch // self.per_class)}, got {self.batch}"
            )
        return self


class ModelSettings(Section):
    """The model that training starts from.

    Attributes:
        name: the model, as `StructuralModel.from_pretrained` takes it.
        dim: length of a part's vector after the head.
        head: how a model without a head gets one: PCA `"whitening"` of the training images, or a `"random"` projection.
        grid: rows and columns of the matching grid.
        resampling: how feature maps are resampled to that grid, see `diml.embedding.RESAMPLINGS`.
        weights: how much each part counts, see `StructuralModel.with_weights`; None for the model's own. Rarity is
            fitted to a collection after training.
        freeze_batch_norm: keep batch normalisation as it is.
        frozen: names of backbone modules that are not trained, including everything inside them.
    """

    name: Annotated[str, Field(min_length=1)] = "lite0"
    dim: PositiveInt = 128
    head: Literal["whitening", "random"] = "whitening"
    grid: Grid = (4, 4)
    resampling: str = "area"
    weights: str | None = None
    freeze_batch_norm: bool = True
    frozen: Names = ()

    @field_validator("resampling")
    @classmethod
    def _known(cls, name: str) -> str:
        return _one_of(name, RESAMPLINGS)

    @field_validator("weights")
    @classmethod
    def _trainable(cls, name: str | None) -> str | None:
        try:
            known = name is None or not depends_on_collection(parse_weights(name, lambda: 1))
        except DimlError:
            known = False
        if not known:
            raise ValueError("uniform, norm, norm2, learned or a product of these (rarity is fitted after training)")
        return name


class LossSettings(Section):
    """The loss.

    Attributes:
        name: a loss in `diml.learning.LOSSES`.
        similarity: what the loss compares: matched parts, or pooled vectors.
        marginals, weight, eps: settings of the structural similarity, see `diml.matching.Matcher`.
        options: options of the loss, by name.
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
        return _one_of(name, [*MARGINALS, *OF_PARTS])


class OptimSettings(Section):
    """The optimiser and its schedule.

    Attributes:
        optimizer: adam, adamw or sgd.
        epochs: passes over the training classes.
        lr: learning rate of the backbone.
        head_lr: learning rate of the head; None for the backbone's.
        loss_lr: learning rate of the loss's own parameters, such as margins and proxies.
        weight_decay: weight decay of backbone and head.
        schedule: `"constant"`, `"cosine"` down to 0, or `"step"`.
        step_epochs, step_gamma: for `"step"`: every `step_epochs` epochs, all rates are multiplied by `step_gamma`.
        warmup_steps: steps of linear warm-up.
        clip: largest norm of the gradient; None for no clipping.
        batches_per_epoch: None for as many as fit into the training images.
    """

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    epochs: PositiveInt = 30
    lr: Rate = 1e-5
    head_lr: Rate | None = None
    loss_lr: Rate = 5e-4
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 4e-4
    schedule: Literal["constant", "cosine", "step"] = "constant"
    step_epochs: PositiveInt = 10
    step_gamma: Annotated[float, Field(gt=0, le=1)] = 0.5
    warmup_steps: NonNegativeInt = 0
    clip: PositiveFloat | None = None
    batches_per_epoch: PositiveInt | None = None


class RunSettings(Section):
    """The hardware, the seed, and the choice of the best epoch.

    Attributes:
        seed: seed of everything random except the choice of the validation classes.
        precision: the precision, by Lightning's name.
        devices: devices per machine, or `"auto"` for all.
        nodes: number of machines.
        accelerator: the accelerator, by Lightning's name.
        strategy: None, or `"ddp"` to use DDP with a single device too.
        select: the metric of the validation classes that chooses the best epoch.
        shortlist: images that the validation re-ranks by matched parts; 0 for the pooled ranking. The default is 100,
            or 0 if the loss compares pooled vectors.
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
    """All settings of a run, in sections.

    If the loss compares pooled vectors, the default of `run.shortlist` is 0.

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
        """For a loss on pooled vectors, choose the best epoch by the pooled ranking."""
        match given:
            case {"loss": {"similarity": "pooled"}, "run": {"shortlist": _}}:
                return given
            case {"loss": {"similarity": "pooled"}} if isinstance(given.get("run", {}), dict):
                return {**given, "run": {**given.get("run", {}), "shortlist": 0}}
        return given

    def to_toml(self) -> str:
        """The settings as TOML, which `load_settings` reads back; values of None are left out."""
        import tomli_w

        return tomli_w.dumps(self.model_dump(exclude_none=True))
