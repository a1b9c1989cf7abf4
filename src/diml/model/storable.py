"""Feature maps in the precision in which they are stored."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diml.feature_maps import FeatureMaps

# Range of the largest absolute value of a map that is stored unscaled: float16 ends at 65,504 and loses digits below
# 6e-5.
PEAKS = (2.0**-4, 2.0**15)


def storable(maps: FeatureMaps) -> tuple[Float[Tensor, "n r d"], Float[Tensor, "n d"]]:
    """The maps in float16 and their pooled vectors in float32.

    Maps outside the range of float16 are scaled first, each by a power of two, together with the pooled vector. Every
    score is a cosine or a sum of cosines, so no score changes.

    >>> local, pooled = storable(FeatureMaps(torch.full((1, 4, 2), 2.0**20), (2, 2)))
    >>> local.dtype, local.max().item(), pooled.max().item()
    (torch.float16, 1.0, 1.0)
    """
    local, pooled = maps.local.float(), maps.pooled.float()
    peak = local.abs().amax(dim=(1, 2))
    outside = (peak > 0) & ((peak < PEAKS[0]) | (peak > PEAKS[1]))
    exponent = torch.where(outside, -peak.clamp(min=torch.finfo(torch.float32).tiny).log2().floor(), 0.0)
    scale = exponent.exp2()
    return (local * scale[:, None, None]).half(), pooled * scale[:, None]
