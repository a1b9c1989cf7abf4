"""The forward pass where no gradient is needed: as PyTorch runs it fastest, or compiled by another engine."""

from diml.embedding.inference.inference import Inference
from diml.embedding.inference.names import BACKENDS, REDUCED, parse_backend

__all__ = ["BACKENDS", "REDUCED", "Inference", "parse_backend"]
