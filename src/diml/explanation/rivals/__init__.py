"""Rival explanations of a pair of images, in one interface: to compare with, and to choose from."""

from diml.explanation.rivals.bilinear import Bilinear
from diml.explanation.rivals.controls import CentreControl, IdentityControl, RandomControl
from diml.explanation.rivals.exact import ExactTransport
from diml.explanation.rivals.gradients import GradCam
from diml.explanation.rivals.method import Method, PairExplanation
from diml.explanation.rivals.nearest import NearestPatch
from diml.explanation.rivals.occlusion import Occlusion
from diml.explanation.rivals.registry import METHODS, methods
from diml.explanation.rivals.structural import Contributions, Structural

__all__ = [
    "METHODS",
    "Bilinear",
    "CentreControl",
    "Contributions",
    "ExactTransport",
    "GradCam",
    "IdentityControl",
    "Method",
    "NearestPatch",
    "Occlusion",
    "PairExplanation",
    "RandomControl",
    "Structural",
    "methods",
]
