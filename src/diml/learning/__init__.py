"""Learning: losses on matched parts, batches, and training runs. Needs the extra `train`.

The public names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diml.learning.batches.sampling import ClassBatches
    from diml.learning.batches.splits import Splits, split_collection
    from diml.learning.batches.training_images import TrainingImages
    from diml.learning.losses.distances import StructuralDistance, StructuralSimilarity, flattened
    from diml.learning.losses.library_objective import LibraryObjective
    from diml.learning.losses.margin import Margin
    from diml.learning.losses.multi_similarity import MultiSimilarity
    from diml.learning.losses.objective import Objective
    from diml.learning.losses.pair_measure import PairMeasure
    from diml.learning.losses.quadruplet import Quadruplet
    from diml.learning.losses.registry import LOSSES, build_objective
    from diml.learning.run.settings import TrainingSettings
    from diml.learning.run.settings_file import load_settings
    from diml.learning.run.train import TrainingResult, train

_MODULES = {
    "LOSSES": "losses.registry",
    "ClassBatches": "batches.sampling",
    "LibraryObjective": "losses.library_objective",
    "Margin": "losses.margin",
    "MultiSimilarity": "losses.multi_similarity",
    "Objective": "losses.objective",
    "PairMeasure": "losses.pair_measure",
    "Quadruplet": "losses.quadruplet",
    "Splits": "batches.splits",
    "StructuralDistance": "losses.distances",
    "StructuralSimilarity": "losses.distances",
    "TrainingImages": "batches.training_images",
    "TrainingResult": "run.train",
    "TrainingSettings": "run.settings",
    "build_objective": "losses.registry",
    "flattened": "losses.distances",
    "load_settings": "run.settings_file",
    "split_collection": "batches.splits",
    "train": "run.train",
}

__all__ = [
    "LOSSES",
    "ClassBatches",
    "LibraryObjective",
    "Margin",
    "MultiSimilarity",
    "Objective",
    "PairMeasure",
    "Quadruplet",
    "Splits",
    "StructuralDistance",
    "StructuralSimilarity",
    "TrainingImages",
    "TrainingResult",
    "TrainingSettings",
    "build_objective",
    "flattened",
    "load_settings",
    "split_collection",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'diml.learning' has no attribute {name!r}")
    return getattr(importlib.import_module(f"diml.learning.{_MODULES[name]}"), name)
