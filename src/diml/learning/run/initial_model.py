"""The model that training starts from."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable

import torch
from torch import nn

from diml.data import Collection
from diml.embedding import Encoder, Preprocessing
from diml.embedding.part_weights import depends_on_collection
from diml.errors import ImageError, UsageError, first_line
from diml.learning.batches.seeds import derived, seeded
from diml.learning.run.learner import named
from diml.learning.run.settings import TrainingSettings
from diml.matching import Matcher
from diml.model import HeadFitting, StructuralModel
from diml.model.storage import UNTRAINED_WEIGHTS

# The share of the side that the field's protocol keeps: resize to 256, crop to 224.
CENTRE = 0.875
# Keys of the seeds, so that weights and head are drawn independently.
WEIGHTS, HEAD = 201, 202

# Called with a description of the work, the number of images done, and the number in total.
Stage = Callable[[str, int, int], None]


def bare_model(settings: TrainingSettings, name: str, own: StructuralModel | None = None) -> StructuralModel:
    """The model of the settings, as far as it can be made without images: a missing head is not fitted yet.

    Args:
        settings: settings of the run.
        name: name of the trained model.
        own: a model to copy instead of loading `model.name`.

    Raises:
        ModelError: there is no such model.
        UsageError: the size, grid, dim or a frozen module does not fit the model, or its weights of parts depend on a
            collection.
    """
    chosen = settings.model
    if own is not None:
        found = copy.deepcopy(own)
    else:
        # Seeded for `?weights=random`.
        with seeded(derived(settings.run.seed, WEIGHTS)):
            found = StructuralModel.from_pretrained(chosen.name)
    old = found.encoder
    if old.head is not None and old.head.out_features != chosen.dim:
        raise UsageError(
            f"expected model.dim = {old.head.out_features}, the dim of the head of {chosen.name}, got {chosen.dim}; "
            f"set model.dim={old.head.out_features}"
        )
    list(named(old.backbone, chosen.frozen))
    if chosen.weights is not None:
        found = found.with_weights(chosen.weights)
    elif found.weights == UNTRAINED_WEIGHTS and not found.weights_ready:
        # The default of untrained models, which is fitted to a collection.
        found = found.with_weights(None)
    if depends_on_collection(found.encoder.weights):
        raise UsageError(
            f"expected weights that depend on no collection, as training changes its parts, got {found.weights}, those "
            f"of {chosen.name}; set model.weights=uniform, and fit them to the trained model"
        )
    pixels = prepared(old.preprocessing, settings)
    encoder = found.encoder.replace(preprocessing=pixels, grid=chosen.grid, resampling=chosen.resampling)
    _try(encoder, settings)
    loss = settings.loss
    matcher = Matcher(marginals=loss.marginals, weight=loss.weight, eps=loss.eps)
    return found.replace(encoder=encoder, matcher=matcher, name=name)


def prepared(preprocessing: Preprocessing, settings: TrainingSettings) -> Preprocessing:
    """The model's preprocessing with the size and the fit of the settings."""
    size, fit = settings.data.size, settings.data.fit
    sized = preprocessing if size is None else dataclasses.replace(preprocessing, size=(size, size))
    return dataclasses.replace(sized, fit=fit, crop=CENTRE if fit == "crop" else sized.crop)


def fit_head(
    model: StructuralModel, train: Collection, settings: TrainingSettings, stage: Stage | None = None
) -> dict[str, str]:
    """Give a model without a head one, in place: PCA whitening of the training images, or a random projection.

    Args:
        model: the model, on the device to compute on.
        train: the training images.
        settings: settings of the run.
        stage: reports progress.

    Returns:
        The images that could not be read, by path, each with its reason.

    Raises:
        UsageError: fewer readable images than the head has dimensions, or more dimensions than the backbone has
            channels.
    """
    dim = settings.model.dim
    if settings.model.head == "random":
        with seeded(derived(settings.run.seed, HEAD)):
            model.use_head(nn.Linear(model.encoder.channels, dim), None)
        return {}
    if len(train) <= dim:
        raise UsageError(
            f"expected more than {dim} training images to fit a head of dim {dim}, preferably {2 * dim}, "
            f"got {len(train)}; set a smaller model.dim, or model.head=random"
        )
    progress = None if stage is None else functools.partial(stage, "fitting the head")
    files = [train.file(i) for i in range(len(train))]
    fitting, unread = HeadFitting(dim, seed=settings.run.seed, required=True), dict[int, ImageError]()
    fitting.fit_files(model, files, train.name, progress, unread)
    return {train.paths[i]: str(error) for i, error in unread.items()}


@torch.no_grad()
def _try(encoder: Encoder, settings: TrainingSettings) -> None:
    """Encode one blank image, so that settings that do not fit together are refused before the long work."""
    try:
        channels = encoder(torch.zeros(1, 3, *encoder.preprocessing.size, device=encoder.device)).dim
    except UsageError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UsageError(
            f"{settings.model.name} does not accept images of {encoder.preprocessing.size[0]} pixels "
            f"({first_line(error)}); set another data.size, or leave it out"
        ) from error
    if encoder.head is None and settings.model.dim > channels:
        raise UsageError(
            f"expected model.dim from 1 to the {channels} channels of {settings.model.name}, got {settings.model.dim}"
        )
