"""Correct keypoints on several grids: the model's own and finer ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from diml.errors import UsageError
from diml.evaluation.protocol import Progress
from diml.explanation.methods.method import Method
from diml.faithfulness.correct_keypoints import CorrectKeypoints, correct_keypoints
from diml.faithfulness.embedded_pairs import EmbeddedPair, embed_pairs
from diml.faithfulness.grids import Grid, at_grid
from diml.faithfulness.pairs import ImagePair
from diml.faithfulness.report import KeypointScores
from diml.faithfulness.report_rows import keypoint_scores
from diml.faithfulness.settings import FaithfulnessSettings
from diml.model import StructuralModel

# Measured in addition to the model's own grid where no grids are named.
FINER: tuple[Grid, ...] = ((7, 7), (14, 14))


def measure_keypoints(
    model: StructuralModel,
    pairs: Sequence[ImagePair],
    methods: Sequence[Method],
    settings: FaithfulnessSettings,
    progress: Progress,
) -> tuple[list[KeypointScores], list[tuple[str, str]]]:
    """Correct keypoints of the methods with a correspondence, on the pairs with known points.

    Returns:
        A row for each grid and method, and name and reason of the grids in `FINER` that the model cannot give.

    Raises:
        UsageError: the model cannot give a grid in `settings.grids`.
    """
    marked = [pair for pair in pairs if pair.points is not None and len(pair.points)]
    methods = [method for method in methods if method.corresponds]
    if not marked or not methods:
        return [], []
    rows: list[KeypointScores] = []
    # All models are made first, so that a grid that one cannot give is refused before the slow work.
    models, skipped = _models(model, settings.grids)
    for finer in models:
        cells = f"{finer.grid[0]}x{finer.grid[1]} cells"
        embedded, _ = embed_pairs(finer, marked, settings.batch_size, partial(progress, f"embedding, {cells}"))
        rows.extend(
            _at_grid(finer.grid, embedded, methods, settings.seed, partial(progress, f"corresponding, {cells}"))
        )
    return rows, skipped


def _models(
    model: StructuralModel, grids: Sequence[Grid] | None
) -> tuple[list[StructuralModel], list[tuple[str, str]]]:
    if grids is not None:
        return [at_grid(model, grid) for grid in dict.fromkeys(grids)], []
    models, skipped = [model], list[tuple[str, str]]()
    for grid in FINER:
        if grid != model.grid:
            try:
                models.append(at_grid(model, grid))
            except UsageError as error:
                skipped.append((f"grid {grid[0]}x{grid[1]}", str(error)))
    return models, skipped


def _at_grid(
    grid: Grid, embedded: Sequence[EmbeddedPair], methods: Sequence[Method], seed: int, progress: partial[None]
) -> list[KeypointScores]:
    found: dict[str, list[CorrectKeypoints]] = {method.name: [] for method in methods}
    for at, each in enumerate(embedded):
        for method in methods:
            correspondence = method.explain(each.given).correspondence
            assert correspondence is not None
            assert each.points is not None
            size = each.given.image_a.size
            found[method.name].append(correct_keypoints(correspondence, each.points, size, grid, grid))
        progress(at + 1, len(embedded))
    return [keypoint_scores(name, grid, each, embedded, seed) for name, each in found.items() if each]
