"""The structural model: an encoder and a matcher, loaded, saved and used as one; queries made with it."""

from diml.model.fitting import Fitting
from diml.model.head import HeadFitting, head_dim
from diml.model.query import PartQuery, Query, RolloutQuery, WholeQuery
from diml.model.query_part import Mask, QueryPart
from diml.model.rollout import rollout_marginals, rollout_of, spread
from diml.model.sources import Source, read_image
from diml.model.storable import storable
from diml.model.structural import StructuralModel

__all__ = [
    "Fitting",
    "HeadFitting",
    "Mask",
    "PartQuery",
    "Query",
    "QueryPart",
    "RolloutQuery",
    "Source",
    "StructuralModel",
    "WholeQuery",
    "head_dim",
    "read_image",
    "rollout_marginals",
    "rollout_of",
    "spread",
    "storable",
]
