"""Attention rollout of images: as marginals for the matching, and to attribute contributions to patches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diml.embedding.rollout import Rollout, attention_rollout
from diml.errors import UsageError
from diml.matching import Match
from diml.model.sources import Source
from diml.model.structural import StructuralModel

# Images whose attention is held in memory at once.
BATCH = 8


def rollout_of(model: StructuralModel, images: Sequence[Source], last: int) -> Rollout:
    """Attention rollout of images over the model's last blocks. See `attention_rollout`.

    Args:
        images: as `model.encode` takes them.
        last: number of blocks, at least 1.

    Raises:
        UsageError: no images, last < 1, or a model that is not a plain timm vision transformer.
        ImageError: for the first image that cannot be read.

    >>> model = StructuralModel.from_pretrained("timm:test_vit?weights=random")
    >>> rollout_of(model, [torch.zeros(3, 90, 60)], last=1).weights(model.grid).sum().round(decimals=4)
    tensor(1.)
    """
    if not len(images):
        raise UsageError("expected at least one image for a rollout, got no images")
    found = [_of_batch(model, images[at : at + BATCH], last) for at in range(0, len(images), BATCH)]
    return Rollout(torch.cat([each.attention for each in found]), found[0].grid)


def rollout_marginals(model: StructuralModel, images: Sequence[Source], last: int) -> Float[Tensor, "n r"]:
    """Marginals by attention rollout, one row per image: the share of its tokens' content that came from each cell.

    Unlike cross-correlation marginals they do not depend on the other image. For two images:

    >>> from PIL import Image
    >>> model = StructuralModel.from_pretrained("timm:test_vit?weights=random")
    >>> pair = [Image.new("RGB", (64, 48), "red"), Image.new("RGB", (64, 48), "blue")]
    >>> mu, maps = rollout_marginals(model, pair, last=2), model.encode(pair)
    >>> match = model.with_matcher(marginals=(mu[:1], mu[1:])).explain(maps[0], maps[1])
    >>> (match.plan.sum(dim=2) - mu[:1]).abs().max().item() < 1e-5
    True
    """
    return rollout_of(model, images, last).weights(model.grid)


def spread(match: Match, rollout_a: Rollout, rollout_b: Rollout) -> Float[Tensor, "n t_a t_b"]:
    """Contributions of pairs of patches: `P_a^T C P_b`, where `P` is the share of each part that came from each patch.

    The rows of P sum to 1, so these contributions have the same sum as the match's own. They are finer than the
    matching grid and less exact about location: a rollout describes the flow of attention, see `attention_rollout`.

    Args:
        match: of n pairs of images.
        rollout_a, rollout_b: rollouts of the same images, n each.

    Raises:
        UsageError: the number of rollouts is not n.
    """
    if not len(match) == len(rollout_a) == len(rollout_b):
        raise UsageError(
            f"expected rollouts of {len(match)} images on each side, got {len(rollout_a)} and {len(rollout_b)}"
        )
    contributions = match.contributions
    shares_a, shares_b = rollout_a.shares(match.maps_a.grid), rollout_b.shares(match.maps_b.grid)
    return shares_a.to(contributions).mT @ contributions @ shares_b.to(contributions)


def _of_batch(model: StructuralModel, images: Sequence[Source], last: int) -> Rollout:
    encoder = model.encoder
    ready = encoder.preprocessing
    pixels = torch.cat([ready.normalise(ready(model.read(image)).values[None]) for image in images])
    return attention_rollout(encoder.backbone, pixels.to(encoder.device, encoder.dtype), last)
