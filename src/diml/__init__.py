"""Interpretable image similarity: how similar two images are, and which parts make them so.

The public names are imported on first use, so that `import diml` and `diml --help` return at once.
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
        raise AttributeError(f"module 'diml' has no attribute {name!r}{_hint(name)}", name=name)
    return getattr(importlib.import_module(_HOMES[name]), name)


def _hint(name: str) -> str:
    """The public name closest to a misspelt one, whatever its case, for the message of an error."""
    from difflib import get_close_matches

    public = {each.lower(): each for each in __all__}
    near = get_close_matches(name.lower(), public, n=1)
    return f"; did you mean {public[near[0]]!r}?" if near else ""


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
