"""The structural model: an encoder and a matcher, loaded, saved and used as one."""

from diml.model.rollout import rollout_marginals, rollout_of, spread
from diml.model.structural import Source, StructuralModel, read_image

__all__ = ["Source", "StructuralModel", "read_image", "rollout_marginals", "rollout_of", "spread"]
