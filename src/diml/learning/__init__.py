"""Learning: losses on matched parts, batches, and the training run. Needs the extra `train`.

The public names are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diml.learning.baselines import LOSSES, build_objective
    from diml.learning.comparison import Comparison
    from diml.learning.distances import StructuralDistance, StructuralSimilarity, flattened
    from diml.learning.images import TrainingImages
    from diml.learning.objectives import Margin, MultiSimilarity, Objective
    from diml.learning.quadruplet import Quadruplet
    from diml.learning.run import TrainingResult, train
    from diml.learning.sampling import ClassBatches
    from diml.learning.settings import Settings, load_settings
    from diml.learning.splits import Splits, split_collection

_HOMES = {
    "LOSSES": "baselines",
    "ClassBatches": "sampling",
    "Comparison": "comparison",
    "Margin": "objectives",
    "MultiSimilarity": "objectives",
    "Objective": "objectives",
    "Quadruplet": "quadruplet",
    "Settings": "settings",
    "Splits": "splits",
    "StructuralDistance": "distances",
    "StructuralSimilarity": "distances",
    "TrainingImages": "images",
    "TrainingResult": "run",
    "build_objective": "baselines",
    "flattened": "distances",
    "load_settings": "settings",
    "split_collection": "splits",
    "train": "run",
}

__all__ = [
    "LOSSES",
    "ClassBatches",
    "Comparison",
    "Margin",
    "MultiSimilarity",
    "Objective",
    "Quadruplet",
    "Settings",
    "Splits",
    "StructuralDistance",
    "StructuralSimilarity",
    "TrainingImages",
    "TrainingResult",
    "build_objective",
    "flattened",
    "load_settings",
    "split_collection",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diml.learning' has no attribute {name!r}")
    return getattr(importlib.import_module(f"diml.learning.{_HOMES[name]}"), name)
