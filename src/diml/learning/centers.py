"""A regulariser of proxies: several centres of one class shall not be more than the class needs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diml.learning.formula import SMALL


class CentersApart(nn.Module):
    """Half the mean distance of the centres of one class, `sqrt(2 - 2 cos + 1e-6) / 2` (Qian et al. 2019, equation 9).

    What pytorch-metric-learning's `SparseCentersRegularizer` computes from the matrix of all centres of all classes,
    2 GB for the 22,636 of Stanford Online Products; here only centres of one class meet.

    Args:
        centers: per class, at least 2; those of a class stand one after the other.

    >>> CentersApart(2)(torch.eye(4)).round(decimals=4)
    tensor(0.7071)
    """

    def __init__(self, centers: int) -> None:
        super().__init__()
        self.centers = centers

    def forward(self, weights: Float[Tensor, "proxies width"]) -> Float[Tensor, ""]:
        by_class = F.normalize(weights, dim=1).reshape(-1, self.centers, weights.shape[1])
        cosine = by_class @ by_class.mT
        i, j = torch.triu_indices(self.centers, self.centers, offset=1, device=weights.device)
        chords: Tensor = (2 - 2 * cosine[:, i, j]).clamp(min=0).add(SMALL).sqrt()
        return chords.mean() / 2
