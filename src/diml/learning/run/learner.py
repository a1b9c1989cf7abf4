"""The module that is trained: encoder and objective together, from pixels to the loss of the joint batch."""

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
    """An encoder and the objective it is trained with.

    Both are in one module, so that DDP also averages the gradients of the loss's own parameters.

    Args:
        encoder: turns images into feature maps.
        objective: turns the feature maps of the joint batch and their labels into a scalar loss.
        freeze_batch_norm: keep the statistics *and* the scale and shift of batch normalisation, as in the paper: a
            batch of few classes would shift them.
        frozen: names of modules of the backbone that are not trained, including everything inside them, such as
            `blocks.0`.

    Raises:
        UsageError: a name is not in the backbone.
    """

    def __init__(
        self, encoder: Encoder, objective: nn.Module, *, freeze_batch_norm: bool = True, frozen: Sequence[str] = ()
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.objective = objective
        self._frozen = list(named(encoder.backbone, frozen))
        if freeze_batch_norm:
            self._frozen += [module for module in encoder.modules() if isinstance(module, _BatchNorm)]
        for module in self._frozen:
            module.requires_grad_(False)
        for parameter in _unused(encoder):
            parameter.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Learner:
        """Set the mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, pixels: Float[Tensor, "n 3 h w"], labels: Int[Tensor, " n"], seed: int) -> Float[Tensor, ""]:
        """The loss of the joint batch, equal in all processes.

        Args:
            pixels: this process's share of the batch, normalised.
            labels: (n,) classes of the share.
            seed: seed of the objective's random choices, equal in all processes.

        Raises:
            FloatingPointError: the maps contain NaN or infinity, which miners and matching do not handle.
        """
        maps, labels = gather(self.encoder(pixels), labels)
        # Half precision is enough for the backbone, but not for sums over plans and exponentials of distances.
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
        if not torch.isfinite(_sum(maps).detach()):
            raise FloatingPointError("the feature maps contain NaN or infinity")
        with torch.autocast(maps.device.type, enabled=False), _default(maps.dtype), seeded(seed):
            loss: Tensor = self.objective(maps, labels)
        # If a miner finds nothing, the loss is a constant; but DDP waits for a gradient of every parameter.
        return loss + 0 * (_sum(maps) + sum(parameter.sum() for parameter in self.objective.parameters()))


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Set the default dtype, for losses that create tensors of it: training in pure half precision lowers it."""
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
    trained = [parameter for parameter in encoder.parameters() if parameter.requires_grad]
    if not trained:
        return []
    encoder.eval()
    with torch.enable_grad():
        total = _sum(encoder(torch.zeros(1, 3, *encoder.preprocessing.size, device=encoder.device)))
    found = torch.autograd.grad(total, trained, allow_unused=True) if total.requires_grad else [None] * len(trained)
    return [parameter for parameter, gradient in zip(trained, found, strict=True) if gradient is None]


def named(backbone: nn.Module, names: Sequence[str]) -> Iterator[nn.Module]:
    """The modules with these names; `blocks.0` in timm's naming is `model.blocks.0` in our wrapper of a timm model.

    Raises:
        UsageError: a name is not in the backbone.
    """
    modules = dict(backbone.named_modules())
    for name in names:
        found = modules.get(name) or modules.get(f"model.{name}")
        if not name or found is None:
            inner = getattr(backbone, "model", backbone)
            parts = ", ".join(child for child, _ in inner.named_children())
            raise UsageError(f"expected model.frozen to name parts of the backbone ({parts}), got {name!r}")
        yield found
