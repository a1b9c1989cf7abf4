"""Embedding: images to feature maps."""

from diml.embedding.backbones import TimmBackbone, lite0, lite0_preprocessing, load_weights
from diml.embedding.encoder import Batch, Encoder
from diml.embedding.heads import fit_whitening
from diml.embedding.preprocessing import Preprocessing
from diml.embedding.resampling import RESAMPLINGS

__all__ = [
    "RESAMPLINGS",
    "Batch",
    "Encoder",
    "Preprocessing",
    "TimmBackbone",
    "fit_whitening",
    "lite0",
    "lite0_preprocessing",
    "load_weights",
]
