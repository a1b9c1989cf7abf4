"""What learns: the encoder and the objective as one module, from pixels to the loss of the joint batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diml.embedding import Encoder
from diml.errors import UsageError
from diml.feature_maps import FeatureMaps
from diml.learning.batches.gathering import gather
from diml.learning.batches.seeds import seeded


class Learner(nn.Module):
    """An encoder that learns by an objective.

    Both are in one module, so that DDP averages the gradients of the loss's own parameters with the others.

    Args:
        encoder: images to feature maps.
        objective: feature maps of the joint batch and their labels to a scalar loss.
        freeze_batch_norm: keep the statistics *and* the scale and shift of batch normalisation as they are, as in the
            paper: a batch of few classes would move them.
        frozen: names of modules of the backbone that do not learn, with all that is in them, such as `blocks.0`.

    Raises:
        UsageError: a name that is not in the backbone.
    """

    def __init__(
        self, encoder: Encoder, objective: nn.Module, *, freeze_batch_norm: bool = True, frozen: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self._still = list(named(encoder.backbone, frozen))
        if freeze_batch_norm:
            self._still += [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
        for module in self._still:
            module.requires_grad_(False)
        for parameter in _unused(encoder):
            parameter.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Learner:
        """To training or back; what is frozen stays in evaluation mode."""
        super().train(mode)
        for module in self._still:
            module.eval()
        return self

    def forward(self, pixels: Float[Tensor, "n 3 h w"], labels: Int[Tensor, " n"], seed: int) -> Float[Tensor, ""]:
        """The loss of the joint batch, the same in every process.

        Args:
            pixels: the own share of the batch, normalised.
            labels: (n,) its classes.
            seed: for what the objective draws at random, the same in every process.

        Raises:
            FloatingPointError: the maps hold NaN or infinity, of which miners and matching make nothing.
        """
        maps, labels = gather(self.encoder(pixels), labels)
        # Half precision is for the backbone: sums over plans and exponentials of distances need more.
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        if not torch.isfinite(_sum(maps).detach()):
            raise FloatingPointError("the feature maps hold NaN or infinity")
        with torch.autocast(maps.device.type, enabled=False), _default(maps.dtype), seeded(seed):
            loss: Tensor = self.objective(maps, labels)
        # A miner that finds nothing gives a constant; but DDP waits for a gradient of every parameter in every step.
        return loss + 0 * (_sum(maps) + sum(parameter.sum() for parameter in self.objective.parameters()))


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """For losses that make tensors of the default dtype, which training in pure half precision lowers."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _sum(maps: FeatureMaps) -> Tensor:
    return maps.local.sum() + maps.pooled.sum()


def _unused(encoder: Encoder) -> list[nn.Parameter]:
    """Parameters that the maps do not depend on, such as those of a norm before a classifier."""
    learning = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    if not learning:
        return []
    encoder.eval()
    with torch.enable_grad():
        total = _sum(encoder(torch.zeros(1, 3, *encoder.preprocessing.size, device=encoder.device)))
    found = torch.autograd.grad(total, learning, allow_unused=True) if total.requires_grad else [None] * len(learning)
    return [parameter for parameter, gradient in zip(learning, found, strict=True) if gradient is None]


def named(backbone: nn.Module, prefixes: Sequence[str]) -> Iterator[nn.Module]:
    """The modules of these names; what timm calls `blocks.0` lies in our wrapper as `model.blocks.0`.

    Raises:
        UsageError: a name that is not in the backbone.
    """
    modules = dict(backbone.named_modules())
    for prefix in prefixes:
        found = modules.get(prefix) or modules.get(f"model.{prefix}")
        if not prefix or found is None:
            inner = getattr(backbone, "model", backbone)
            names = ", ".join(name for name, _ in inner.named_children())
            raise UsageError(f"model.frozen names {prefix!r}, which the backbone has not; its parts are {names}")
        yield found
