"""Attention rollout: which patches contribute to each token of a vision transformer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diml.embedding.backbones import TimmBackbone, patch_grid
from diml.embedding.resampling import area_matrix
from diml.errors import UsageError


@dataclass(frozen=True, eq=False)
class Rollout:
    """The patches from which the last layer's tokens of n images draw their content; with a block, that block's tokens.

    Attributes:
        attention: (n, t, t), rows sum to 1: the share of patch j in the last layer's token i.
        grid: rows and columns of the t patches.

    >>> rollout = Rollout(torch.eye(4)[None], (2, 2))
    >>> rollout.weights((1, 2))
    tensor([[0.5000, 0.5000]])
    """

    attention: Float[Tensor, "n t t"]
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.attention)

    def __getitem__(self, index: slice | Tensor) -> Rollout:
        return Rollout(self.attention[index], self.grid)

    def weights(self, grid: tuple[int, int]) -> Float[Tensor, "n r"]:
        """Marginals: the share of each cell of the matching grid in the content of all tokens; rows sum to 1.

        The mass of a patch is the mean of its column; a patch that overlaps several cells is divided by area.
        """
        cells = self._cells(grid)
        mass = self.attention.mean(dim=1)
        return mass @ (cells / cells.sum(dim=0)).mT

    def shares(self, grid: tuple[int, int]) -> Float[Tensor, "n r t"]:
        """`P`: the share of each patch in the part of each cell of the matching grid; rows sum to 1."""
        return self._cells(grid) @ self.attention

    def _cells(self, grid: tuple[int, int]) -> Float[Tensor, "r t"]:
        """Shares of the patches in each cell of the matching grid, as in `area`; rows sum to 1."""
        rows, columns = (area_matrix(cells, to) for cells, to in zip(self.grid, grid, strict=True))
        return torch.kron(rows, columns).to(self.attention)


@torch.no_grad()
def attention_rollout(backbone: nn.Module, pixels: Float[Tensor, "n 3 H W"], last: int) -> Rollout:
    """Trace the attention of the last blocks back to the patches.

    `R = A_L A_(L-1) ... A_(L-last+1)`, where `A` is a block's attention, averaged over the heads, plus the identity for
    the residual connection, with normalised rows (Abnar and Zuidema 2020, limited to the last blocks). It covers all
    tokens; at the end the class and register tokens, which are not in the feature map, are removed from rows and
    columns, and the rows are normalised again. The rollout shows where information could flow. It weights all heads
    alike and ignores values and MLPs, so it is a description and not an attribution.

    Of a backbone that stops at a block, the rollout ends there too.

    Fused attention does not form these matrices, so it is disabled in these blocks during the computation.

    Args:
        backbone: a `TimmBackbone` of a plain ViT, whose blocks attend over all tokens.
        pixels: normalised.
        last: number of blocks, at least 1; all blocks if there are fewer.

    Raises:
        UsageError: last < 1, or the backbone has no such attention, such as a CNN.

    >>> backbone = TimmBackbone("test_vit")
    >>> attention_rollout(backbone, torch.zeros(1, 3, 160, 160), last=2).attention.sum(dim=2).round(decimals=4).unique()
    tensor([1.])
    """
    found = block_attentions(backbone, pixels, last)
    assert isinstance(backbone, TimmBackbone)
    return rolled(found, backbone)


@torch.no_grad()
def block_attentions(backbone: nn.Module, pixels: Float[Tensor, "n 3 H W"], last: int) -> list[Float[Tensor, "n t t"]]:
    """The steps of a rollout, `mixed` attention over all tokens of each of the last blocks, the first of them first.

    Raises:
        UsageError: last < 1, or the backbone has no such attention.
    """
    if last < 1:
        raise UsageError(f"expected a rollout of at least 1 block, got {last}")
    blocks = _attentions(backbone)[-last:]
    assert isinstance(backbone, TimmBackbone)
    seen: dict[nn.Module, Tensor] = {}
    with _evaluating(backbone), _unfused(blocks), _watched(blocks, seen):
        backbone(pixels)
    shapes = {tuple(attention.shape) for attention in seen.values()}
    if len(seen) < len(blocks) or len(shapes) != 1 or next(iter(shapes))[0] != len(pixels):
        raise _no_attention(backbone)
    return [seen[block] for block in blocks]


def rolled(attentions: Sequence[Float[Tensor, "n t t"]], backbone: TimmBackbone) -> Rollout:
    """The product of the steps of successive blocks, for the patches alone; see `attention_rollout`."""
    rollout = attentions[0]
    for attention in attentions[1:]:
        rollout = attention @ rollout
    prefix = getattr(backbone.model, "num_prefix_tokens", 0)
    patches = rollout[:, prefix:, prefix:]
    mass = patches.sum(dim=2, keepdim=True)
    return Rollout(patches / mass, patch_grid(backbone.model, patches.shape[1]))


def mixed(attention: Float[Tensor, "n heads t t"]) -> Float[Tensor, "n t t"]:
    """One block of a rollout: average the heads, add the identity, normalise the rows.

    >>> mixed(torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]]))
    tensor([[[0.7500, 0.2500],
             [0.0000, 1.0000]]])
    """
    added = attention.float().mean(dim=1) + torch.eye(attention.shape[-1], device=attention.device)
    return added / added.sum(dim=-1, keepdim=True)


def _attentions(backbone: nn.Module) -> list[Any]:
    """The attention of each block, first to last."""
    blocks: Any = getattr(getattr(backbone, "model", None), "blocks", ())
    found = [getattr(block, "attn", None) for block in blocks] if isinstance(backbone, TimmBackbone) else []
    if not found or not all(hasattr(each, "fused_attn") and hasattr(each, "attn_drop") for each in found):
        raise _no_attention(backbone)
    return found


def _no_attention(backbone: nn.Module) -> UsageError:
    name = backbone.architecture if isinstance(backbone, TimmBackbone) else type(backbone).__name__
    return UsageError(
        f"expected a plain vision transformer of timm for an attention rollout, got {name}; leave the rollout out, or "
        "use partial transport (mass below 1), which works with any backbone"
    )


@contextmanager
def _evaluating(backbone: nn.Module) -> Iterator[None]:
    """Evaluation mode; each module's own mode is restored, as some may be frozen in a backbone that is trained."""
    before = [(module, module.training) for module in backbone.modules()]
    try:
        backbone.eval()
        yield
    finally:
        for module, training in before:
            module.training = training


@contextmanager
def _unfused(blocks: list[Any]) -> Iterator[None]:
    before = [block.fused_attn for block in blocks]
    try:
        for block in blocks:
            block.fused_attn = False
        yield
    finally:
        for block, fused in zip(blocks, before, strict=True):
            block.fused_attn = fused


@contextmanager
def _watched(blocks: list[Any], seen: dict[nn.Module, Tensor]) -> Iterator[None]:
    """Keep the input of each block's dropout: the attention after the softmax."""

    def keeper(block: nn.Module) -> Any:
        def keep(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            if arguments[0].ndim == 4 and arguments[0].shape[2] == arguments[0].shape[3]:
                seen[block] = mixed(arguments[0])

        return keep

    handles = [block.attn_drop.register_forward_pre_hook(keeper(block)) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
