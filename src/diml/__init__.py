"""Interpretable image similarity: how similar two images are, and which parts made it so.

The public names are loaded when they are first used, so that `import diml` and `diml --help` answer at once.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diml.evaluation import Evaluation, evaluate
    from diml.explanation import (
        Agreement,
        Contrast,
        PairExplanation,
        compare,
        draw_hits,
        draw_match,
        explain_agreement,
        explain_contrast,
        explain_pair,
    )
    from diml.feature_maps import FeatureMaps
    from diml.matching import Match, Matcher, transport_plan
    from diml.model import StructuralModel
    from diml.search import Index

_HOMES = {
    "Agreement": "diml.explanation",
    "Contrast": "diml.explanation",
    "Evaluation": "diml.evaluation",
    "FeatureMaps": "diml.feature_maps",
    "Index": "diml.search",
    "Match": "diml.matching",
    "Matcher": "diml.matching",
    "PairExplanation": "diml.explanation",
    "StructuralModel": "diml.model",
    "compare": "diml.explanation",
    "draw_hits": "diml.explanation",
    "draw_match": "diml.explanation",
    "evaluate": "diml.evaluation",
    "explain_agreement": "diml.explanation",
    "explain_contrast": "diml.explanation",
    "explain_pair": "diml.explanation",
    "transport_plan": "diml.matching",
}

__all__ = [
    "Agreement",
    "Contrast",
    "Evaluation",
    "FeatureMaps",
    "Index",
    "Match",
    "Matcher",
    "PairExplanation",
    "StructuralModel",
    "compare",
    "draw_hits",
    "draw_match",
    "evaluate",
    "explain_agreement",
    "explain_contrast",
    "explain_pair",
    "transport_plan",
]
__version__ = version("diml")


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diml' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
