"""Embedding: images to feature maps."""

from diml.embedding.backbones import TimmBackbone, lite0, lite0_preprocessing, load_weights
from diml.embedding.encoder import Batch, Encoder
from diml.embedding.inference import BACKENDS, REDUCED, Inference, parse_backend
from diml.embedding.part_weights import Learned, Norm, Product, Rarity, parse_weights
from diml.embedding.preprocessing import Pixels, Preprocessing
from diml.embedding.resampling import RESAMPLINGS
from diml.embedding.rollout import Rollout, attention_rollout
from diml.embedding.weights import fit_names, read_weights
from diml.embedding.whitening import fit_whitening

__all__ = [
    "BACKENDS",
    "REDUCED",
    "RESAMPLINGS",
    "Batch",
    "Encoder",
    "Inference",
    "Learned",
    "Norm",
    "Pixels",
    "Preprocessing",
    "Product",
    "Rarity",
    "Rollout",
    "TimmBackbone",
    "attention_rollout",
    "fit_names",
    "fit_whitening",
    "lite0",
    "lite0_preprocessing",
    "load_weights",
    "parse_backend",
    "parse_weights",
    "read_weights",
]
