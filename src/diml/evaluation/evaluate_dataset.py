"""Evaluating a model on a labelled collection."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

from diml.data import Collection, open_dataset
from diml.evaluation.features import Embedder
from diml.evaluation.halves import Halves
from diml.evaluation.protocol import Progress, check_settings, evaluate_maps
from diml.evaluation.report import Evaluation
from diml.evaluation.shortlists import Shortlist
from diml.evaluation.task import Task
from diml.matching import Marginal
from diml.model import StructuralModel


def evaluate(
    data: str | os.PathLike[str] | Collection,
    model: StructuralModel | str | os.PathLike[str],
    *,
    shortlists: Shortlist | Iterable[Shortlist] = (0, 100),
    protocol: str = "correct",
    batch_size: int = 32,
    grid: tuple[int, int] | None = None,
    marginals: str | Marginal | None = None,
    head_dim: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure how well a model retrieves images of the same class, see `evaluate_maps`.

    If the collection has a split "test", its images are evaluated leave-one-out; with splits "query" and "gallery", the
    queries are searched in the gallery; without splits, all images are evaluated leave-one-out. Images that cannot be
    read are left out and listed in `skipped`.

    For a model without a head, PCA whitening is fitted: on the training half if there is one, otherwise on the
    evaluated images, without their labels. This takes at least 2 x dim images, and uses a fixed random sample of at
    most 5,000. `Evaluation.head` describes what was done. Weights of parts that depend on a collection and are not
    fitted yet are fitted on the same sample. The given model does not change.

    Args:
        data: what `open_dataset` understands, such as "cub200:DIR", or a labelled collection.
        model: the model or its name.
        shortlists: a row of results for each: 0 for the pooled ranking, K for its best K re-ranked by similarity, "all"
            for matching every pair.
        protocol: "correct" or "published".
        batch_size: images per pass of the backbone.
        grid: the matching grid, by default the model's.
        marginals: the marginals, by default the model's.
        head_dim: outputs of the head that is fitted, by default 128 or, if there are fewer, the backbone's channels; 0
            for no head.
        progress: called with the stage ("embedding", "ranking", ...), the number of images done, and that of all.

    Raises:
        UsageError: the data does not exist, the protocol is unknown, a shortlist is negative, or the grid or dim is too
            large for the backbone.
        DatasetError: there are no labels, the splits have other names, no class has two images, or no image can be
            read.
    """
    shortlists = check_settings(shortlists, protocol)
    collection = data if isinstance(data, Collection) else open_dataset(data)
    halves = Halves.of(collection)
    evaluated = collection.subset(halves.evaluated)
    labels = evaluated.known_labels
    asking = len(halves.queries)
    Task.of(
        labels[:asking], None if halves.gallery is None else labels[asking:]
    )  # raises now rather than after the embedding
    embedder = Embedder(_configured(model, grid, marginals), batch_size, progress)
    features = embedder.embed(evaluated, collection.subset(halves.train) if halves.train else None, head_dim)
    maps, read = features.maps, [labels[at] for at in features.indices]
    if halves.gallery is not None:
        asking = sum(at < asking for at in features.indices)
        parts = (maps[:asking], read[:asking], maps[asking:], read[asking:])
    result = evaluate_maps(
        *(parts if halves.gallery is not None else (maps, read)),
        matcher=embedder.model.matcher,
        shortlists=shortlists,
        protocol=protocol,
        progress=progress,
    )
    return dataclasses.replace(
        result,
        dataset=collection.name,
        model=embedder.model.name,
        head=features.head,
        weights=_weights(embedder.model),
        skipped=[*collection.skipped, *embedder.skipped],
    )


def _weights(model: StructuralModel) -> str:
    on = model.weights_fitted_on
    return model.weights + (f", fitted on {on}" if on else "")


def _configured(
    model: StructuralModel | str | os.PathLike[str], grid: tuple[int, int] | None, marginals: str | Marginal | None
) -> StructuralModel:
    """A copy that shares the weights, so that fitting a head leaves the caller's model unchanged."""
    model = model if isinstance(model, StructuralModel) else StructuralModel.from_pretrained(model)
    model = model.with_grid(grid or model.grid)
    return model if marginals is None else model.with_matcher(marginals=marginals)
