"""Explanation methods: ways to explain the similarity of two images, behind one interface."""

from diml.explanation.methods.bilinear import Bilinear
from diml.explanation.methods.controls import CentreControl, IdentityControl, RandomControl
from diml.explanation.methods.exact import ExactTransport
from diml.explanation.methods.gradients import GradCam
from diml.explanation.methods.method import Method, MethodInput, MethodResult
from diml.explanation.methods.nearest import NearestPatch
from diml.explanation.methods.occlusion import Occlusion
from diml.explanation.methods.registry import METHODS, methods
from diml.explanation.methods.structural import Contributions, Structural

__all__ = [
    "METHODS",
    "Bilinear",
    "CentreControl",
    "Contributions",
    "ExactTransport",
    "GradCam",
    "IdentityControl",
    "Method",
    "MethodInput",
    "MethodResult",
    "NearestPatch",
    "Occlusion",
    "RandomControl",
    "Structural",
    "methods",
]
