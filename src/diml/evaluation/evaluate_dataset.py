"""From a collection and a model to an evaluation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from diml.data import Collection, open_dataset
from diml.evaluation.features import Embedder
from diml.evaluation.halves import Halves
from diml.evaluation.protocol import Progress, check_settings, evaluate_maps
from diml.evaluation.ranking import Shortlist
from diml.evaluation.report import Evaluation
from diml.evaluation.task import Task
from diml.matching import Marginal
from diml.model import StructuralModel


def evaluate(
    data: str | os.PathLike[str] | Collection,
    model: StructuralModel | str | os.PathLike[str],
    *,
    shortlists: Sequence[Shortlist] = (0, 100),
    protocol: str = "correct",
    batch_size: int = 32,
    grid: tuple[int, int] | None = None,
    marginals: str | Marginal | None = None,
    head_dim: int | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure how well a model retrieves images of the same class, see `evaluate_maps`.

    Of a collection with halves the images of split "test" are evaluated, leave-one-out; with splits "query" and
    "gallery" the former are looked for among the latter; without splits it is all images, leave-one-out. Images that
    cannot be read are left out and listed in `skipped`.

    A model without a head has one fitted, PCA whitening: on the training half where there is one, else on the
    evaluated images themselves, of which no label is looked at; from 2 x dim images up, on at most 5,000 of them, drawn
    at random but the same every time. The result says in words what was done. The caller's model stays as it is.

    Args:
        data: what `open_dataset` understands, such as "cub200:DIR", or a labelled collection.
        model: the model or its name.
        shortlists: a row of results for each: 0 for the pooled ranking, K for the best K of it re-ranked by similarity,
            "all" for every pair matched.
        protocol: "correct" or "published".
        batch_size: images per pass of the backbone.
        grid: another matching grid than the model's.
        marginals: other marginals than the model's.
        head_dim: numbers per part after a head that is fitted; None for 128, or as many as the backbone has channels; 0
            for no head.
        progress: called with what is being done ("embedding", "ranking", ...), images done, and images to do.

    Raises:
        UsageError: data that does not exist, an unknown protocol, a negative shortlist, a grid or dim that the backbone
            does not have.
        DatasetError: no labels, splits of other names, no class with two images, no image that can be read.
    """
    check_settings(shortlists, protocol)
    collection = data if isinstance(data, Collection) else open_dataset(os.fspath(data))
    halves = Halves.of(collection)
    evaluated = collection.subset(halves.evaluated)
    labels = evaluated.known_labels
    asking = len(halves.queries)
    Task.of(labels[:asking], None if halves.gallery is None else labels[asking:])  # fails now rather than after hours
    embedder = Embedder(_as_asked(model, grid, marginals), batch_size, progress)
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
        skipped=[*collection.skipped, *embedder.skipped],
    )


def _as_asked(
    model: StructuralModel | str | os.PathLike[str], grid: tuple[int, int] | None, marginals: str | Marginal | None
) -> StructuralModel:
    """A copy that shares the weights, so that a head fitted here is not the caller's."""
    model = model if isinstance(model, StructuralModel) else StructuralModel.from_pretrained(model)
    model = model.with_grid(grid or model.grid)
    return model if marginals is None else model.with_matcher(marginals=marginals)
