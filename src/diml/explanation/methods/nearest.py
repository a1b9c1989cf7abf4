"""Nearest patches: every part goes to the most similar part of the other image, independently of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F

from diml.explanation.methods.method import MethodInput, MethodResult
from diml.explanation.methods.structural import unmatched


@dataclass(frozen=True)
class NearestPatch:
    """Max-sim: part i of a corresponds to `argmax_j S_ij`; a cell's heat is `alpha_i max_j S_ij`.

    The weights of the parts, alpha, are `1 / r_a` for a model without weights.

    The patch correspondences of Taesiri, Nguyen and Nguyen (*Visual correspondence-based explanations improve AI
    robustness and human-AI team accuracy*, NeurIPS 2022) without a limit on how often a part may be chosen. The heat of
    each image sums to the mean best local similarity of its parts.
    """

    name: str = "nearest"
    summary: ClassVar[str] = "every part with the most similar part of the other image"
    limitation: ClassVar[str] = (
        "it does not explain the similarity that the model ranks by, and one part may be chosen many times"
    )
    heats: ClassVar[bool] = True
    corresponds: ClassVar[bool] = True

    def explain(self, pair: MethodInput) -> MethodResult:
        match = unmatched(pair)
        local, a, b = match.local_similarity[0], match.maps_a, match.maps_b
        alpha, beta = a.weights_or_uniform[0], b.weights_or_uniform[0]
        best, at = local.max(dim=1)
        heat_a = (alpha * best).reshape(a.grid)
        heat_b = (beta * local.amax(dim=0)).reshape(b.grid)
        chosen = alpha[:, None] * F.one_hot(at, b.parts).to(local)
        return MethodResult(heat_a, heat_b, chosen, float(heat_a.sum()), "mean best local similarity", chosen * local)
