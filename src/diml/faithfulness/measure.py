"""One faithfulness run: from pairs of images, a model and explanation methods to a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial

from jaxtyping import Float
from torch import Tensor

from diml.errors import DatasetError
from diml.evaluation.protocol import Progress
from diml.explanation.methods.method import Method, MethodResult
from diml.explanation.methods.occlusion import Occlusion
from diml.explanation.methods.pixels import in_input_size
from diml.explanation.methods.registry import methods
from diml.faithfulness.embedded_pairs import EmbeddedPair, embed_pairs
from diml.faithfulness.interactions import check_subset_count, reference_interactions
from diml.faithfulness.keypoint_grids import measure_keypoints
from diml.faithfulness.object_rows import (
    InteractionReliability,
    InteractionScores,
    interaction_reliability,
    interaction_scores,
    object_scores,
)
from diml.faithfulness.pairs import ImagePair
from diml.faithfulness.removal import MEASURED, removal_curves
from diml.faithfulness.report import CompletenessScores, Faithfulness, RemovalScores
from diml.faithfulness.report_rows import completeness_scores, removal_scores
from diml.faithfulness.settings import FaithfulnessSettings
from diml.faithfulness.stability import stability
from diml.model import StructuralModel

Results = Mapping[str, Sequence[MethodResult]]


def measure_faithfulness(
    dataset: str,
    pairs: Sequence[ImagePair],
    model: StructuralModel,
    chosen: Sequence[Method],
    settings: FaithfulnessSettings | None = None,
    progress: Progress | None = None,
) -> Faithfulness:
    """Measure how far the explanations of several methods can be trusted.

    Args:
        dataset: the name of what the pairs are taken from.
        pairs: what is explained; correspondence is measured on those with known points.
        model: whose similarity is explained.
        chosen: methods with heats, correspondences, or both. The methods of `settings.against` and the random control
            are always measured as well.
        settings: what is measured, and how.
        progress: see `Progress`.

    Raises:
        DatasetError: none of the pairs can be read.
        UsageError: a grid that the model cannot give.
    """
    settings, progress = settings or FaithfulnessSettings(), progress or (lambda stage, done, total: None)
    measured = _with_controls(chosen, settings)
    _check_subsets(model, settings)
    embedded, skipped = embed_pairs(model, pairs, settings.batch_size, partial(progress, "embedding"))
    if not embedded:
        first = f", such as {skipped[0][1]}" if skipped else ""
        raise DatasetError(f"{dataset}: none of its {len(pairs)} pairs can be read{first}")
    keypoints, grids_skipped = (
        measure_keypoints(model, pairs, measured, settings, progress)
        if "correspondence" in settings.measures
        else ([], [])
    )
    results, seconds = _explain(embedded, measured, progress)
    removal, shares = _removal(model, embedded, results, settings, progress)
    against = tuple(dict.fromkeys(settings.against))
    found = _interactions(embedded, results, settings, progress)
    return Faithfulness(
        dataset=dataset,
        model=model.name,
        head=model.head_fitted_on,
        pairs=len(embedded),
        groups=len({each.pair.group for each in embedded}),
        grid=model.grid,
        matching=_matcher_settings(model),
        seed=settings.seed,
        weights=model.weights + (f", fitted on {model.weights_fitted_on}" if model.weights_fitted_on else ""),
        against=against,
        shares=shares,
        stable_pairs=min(len(embedded), settings.stable_pairs) if "stability" in settings.measures else 0,
        removal=removal,
        accounts=_completeness(embedded, measured, results, seconds, settings, progress),
        keypoints=keypoints,
        objects=object_scores(results, embedded, against, settings.seed) if "objects" in settings.measures else [],
        interactions=[row for rows, _ in found for row in rows],
        reliability=[known for _, known in found],
        skipped=(*skipped, *grids_skipped),
    )


def _with_controls(chosen: Sequence[Method], settings: FaithfulnessSettings) -> list[Method]:
    """The chosen methods, those that they are compared with, and the random control."""
    names = {method.name for method in chosen}
    missing = [name for name in dict.fromkeys((*settings.against, "random")) if name not in names]
    return [*chosen, *(methods(missing) if missing else ())]


def _explain(
    embedded: Sequence[EmbeddedPair], measured: Sequence[Method], progress: Progress
) -> tuple[dict[str, list[MethodResult]], dict[str, list[float]]]:
    """By method, the results of all pairs and how many seconds each took."""
    results: dict[str, list[MethodResult]] = {method.name: [] for method in measured}
    seconds: dict[str, list[float]] = {method.name: [] for method in measured}
    for at, each in enumerate(embedded):
        for method in _on_side(measured, each.pair.measured):
            start = time.perf_counter()
            result = method.explain(each.given)
            seconds[method.name].append(time.perf_counter() - start)
            results[method.name].append(result)
        progress("explaining", at + 1, len(embedded))
    return results, seconds


def _removal(
    model: StructuralModel,
    embedded: Sequence[EmbeddedPair],
    results: Results,
    settings: FaithfulnessSettings,
    progress: Progress,
) -> tuple[list[RemovalScores], list[float]]:
    """Rows of deletion and insertion, and the shares at which their curves are recorded."""
    rows: list[RemovalScores] = []
    shares: list[float] = []
    heats = {name: _heats(found, embedded) for name, found in results.items()}
    heats = {name: found for name, found in heats.items() if found}
    groups = [each.pair.group for each in embedded]
    for fill in settings.fills if "deletion" in settings.measures else ():
        curves = removal_curves(
            in_input_size(model),
            embedded,
            heats,
            fill=fill,
            steps=settings.steps,
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=partial(progress, f"removing, {fill}"),
        )
        shares = curves["random"].shares.tolist()
        others = {name: curves[name] for name in settings.against}
        rows.extend(
            removal_scores(name, each, others, fill, k, groups, settings.seed)
            for k in range(len(MEASURED))
            for name, each in curves.items()
        )
    return rows, shares


def _heats(found: Sequence[MethodResult], embedded: Sequence[EmbeddedPair]) -> list[Float[Tensor, "h w"]]:
    heats = [pair.measured_heat(each) for each, pair in zip(found, embedded, strict=True)]
    return [heat for heat in heats if heat is not None]


def _on_side(measured: Sequence[Method], side: str) -> list[Method]:
    """The methods so that each explains this image: occlusion covers only one."""
    return [replace(method, side=side) if isinstance(method, Occlusion) else method for method in measured]


def _check_subsets(model: StructuralModel, settings: FaithfulnessSettings) -> None:
    """Refuse too few subsets before the slow work.

    Raises:
        UsageError: see `reference_interactions`.
    """
    if "interactions" in settings.measures and settings.subsets is not None:
        check_subset_count(settings.subsets, model.grid[0] * model.grid[1])


def _interactions(
    embedded: Sequence[EmbeddedPair], results: Results, settings: FaithfulnessSettings, progress: Progress
) -> list[tuple[list[InteractionScores], InteractionReliability]]:
    """For each fill the rows, and how far the reference can be relied on."""
    found = []
    for fill in settings.fills if "interactions" in settings.measures else ():
        references = reference_interactions(
            embedded,
            fill=fill,
            subsets=settings.subsets,
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=partial(progress, f"hiding cells, {fill}"),
        )
        rows = interaction_scores(results, references, embedded, fill, settings.against, settings.seed)
        count = references[0].subsets
        found.append((rows, interaction_reliability(references, embedded, fill, count, settings.seed)))
    return found


def _completeness(
    embedded: Sequence[EmbeddedPair],
    measured: Sequence[Method],
    results: Results,
    seconds: Mapping[str, Sequence[float]],
    settings: FaithfulnessSettings,
    progress: Progress,
) -> list[CompletenessScores]:
    given = [each.given for each in embedded]
    similarities = [float(each.model.explain(each.maps_a, each.maps_b).similarity) for each in given]
    stable: dict[str, dict[str, list[float]]] = {}
    if "stability" in settings.measures:
        some = given[: settings.stable_pairs]
        stable = stability(some, measured, settings.seed, partial(progress, "perturbing"))
    return [
        completeness_scores(name, found, similarities, stable.get(name, {}), seconds[name])
        for name, found in results.items()
    ]


def _matcher_settings(model: StructuralModel) -> dict[str, object]:
    settings = asdict(model.matcher.replace(marginals="uniform"))
    marginals = model.matcher.marginals
    return {**settings, "marginals": marginals if isinstance(marginals, str) else "custom"}
