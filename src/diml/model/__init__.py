"""The structural model: an encoder and a matcher, loaded, saved and used as one; queries made with it."""

from diml.model.query import Mask, PartQuery, Query, QueryPart, RolloutQuery, WholeQuery
from diml.model.rollout import rollout_marginals, rollout_of, spread
from diml.model.sources import Source, read_image
from diml.model.structural import StructuralModel

__all__ = [
    "Mask",
    "PartQuery",
    "Query",
    "QueryPart",
    "RolloutQuery",
    "Source",
    "StructuralModel",
    "WholeQuery",
    "read_image",
    "rollout_marginals",
    "rollout_of",
    "spread",
]
