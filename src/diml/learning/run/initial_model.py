"""The model that training begins with."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import nn

from diml.data import Collection
from diml.embedding import Encoder, Preprocessing
from diml.errors import UsageError, first_line
from diml.learning.batches.seeds import derived, seeded
from diml.learning.run.learner import named
from diml.learning.run.settings import TrainingSettings
from diml.matching import Matcher
from diml.model import HeadFitting, StructuralModel

# The share that the field's protocol keeps of an image: resized to 256, cut to 224.
CENTRE = 0.875
# Kinds of random numbers, to be unrelated.
WEIGHTS, HEAD = 201, 202

Stage = Callable[[str, int, int], None]


def bare_model(settings: TrainingSettings, name: str) -> StructuralModel:
    """The model of the settings as far as it needs no images: without the head that is yet to be fitted.

    Args:
        settings: of the run.
        name: what the trained model will be called.

    Raises:
        ModelError: there is no such model.
        UsageError: a size, grid, dim or frozen module that it does not have.
    """
    chosen = settings.model
    # Seeded for `?weights=random`.
    with seeded(derived(settings.run.seed, WEIGHTS)):
        found = StructuralModel.from_pretrained(chosen.name)
    old = found.encoder
    if old.head is not None and old.head.out_features != chosen.dim:
        raise UsageError(
            f"{chosen.name} has a head of dim {old.head.out_features}, and model.dim is {chosen.dim}; "
            f"expected the same, set model.dim={old.head.out_features}"
        )
    list(named(old.backbone, chosen.frozen))
    pixels = prepared(old.preprocessing, settings)
    encoder = Encoder(old.backbone, pixels, old.head, chosen.grid, chosen.resampling)
    _try(encoder, settings)
    loss = settings.loss
    matcher = Matcher(marginals=loss.marginals, weight=loss.weight, eps=loss.eps)
    return StructuralModel(encoder, matcher, name, found.head_fitted_on)


def prepared(preprocessing: Preprocessing, settings: TrainingSettings) -> Preprocessing:
    """The model's preprocessing, of the size and fit that the settings ask for."""
    size, fit = settings.data.size, settings.data.fit
    sized = preprocessing if size is None else dataclasses.replace(preprocessing, size=(size, size))
    return dataclasses.replace(sized, fit=fit, crop=CENTRE if fit == "crop" else sized.crop)


def fit_head(model: StructuralModel, train: Collection, settings: TrainingSettings, stage: Stage | None = None) -> None:
    """Give a model without a head one: whitening of the training images, or a random projection; in place.

    Args:
        model: on the device where it shall work.
        train: the training images.
        settings: of the run.
        stage: called with what is being done, images done, and images to do.

    Raises:
        UsageError: fewer images than the head has dimensions, or more dimensions than the backbone has channels.
        ImageError: an image that cannot be read.
    """
    dim = settings.model.dim
    if settings.model.head == "random":
        with seeded(derived(settings.run.seed, HEAD)):
            model.encoder.head = nn.Linear(model.encoder.channels, dim).to(model.encoder.device)
        return
    if len(train) <= dim:
        raise UsageError(
            f"{len(train)} training images came to fit a head of dim {dim}; expected more than {dim}, "
            "better twice as many: set a smaller model.dim, or model.head=random"
        )
    told = None if stage is None else functools.partial(stage, "fitting the head")
    files = [train.file(i) for i in range(len(train))]
    HeadFitting(dim, seed=settings.run.seed, required=True).fit_files(model, files, train.name, told)


@torch.no_grad()
def _try(encoder: Encoder, settings: TrainingSettings) -> None:
    """One blank image, so that what does not fit together is refused before the long work."""
    try:
        channels = encoder(torch.zeros(1, 3, *encoder.preprocessing.size, device=encoder.device)).dim
    except UsageError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"{settings.model.name} does not take images of {encoder.preprocessing.size[0]} pixels "
            f"({first_line(error)}); set another data.size, or leave it out"
        ) from error
    if encoder.head is None and settings.model.dim > channels:
        raise UsageError(
            f"model.dim {settings.model.dim} came; expected 1 to the {channels} channels of {settings.model.name}"
        )
