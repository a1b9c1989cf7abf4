"""PyTorch itself, with batch normalisations folded into their convolutions, and channels last in memory."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights


def compiled(backbone: nn.Module, example: Tensor) -> Callable[[Tensor], Any]:
    """A folded copy of a convolutional network; other networks as they are."""
    if not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()):
        return backbone
    network = folded(backbone).to(memory_format=torch.channels_last)
    return lambda pixels: network(pixels.contiguous(memory_format=torch.channels_last))


def autocast(backbone: nn.Module, example: Tensor) -> Callable[[Tensor], Any]:
    """The same under autocast to bfloat16, on the device of the backbone; outputs are float32.

    Raises:
        RuntimeError: the device does not compute in bfloat16.
    """
    device = example.device.type
    if not _computes_in_bfloat16(device):
        raise RuntimeError(f"this {'processor' if device == 'cpu' else 'GPU'} does not compute in bfloat16")
    run = compiled(backbone, example)

    def in_bfloat16(pixels: Tensor) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            output = run(pixels)
        return tuple(each.float() for each in output) if isinstance(output, tuple) else output.float()

    return in_bfloat16


def _computes_in_bfloat16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def folded(network: nn.Module) -> nn.Module:
    """A copy in which convolutions do the work of the batch normalisations that follow them.

    Both are taken for a pair where they follow each other in their parent, as in all of timm; whoever uses the copy has
    to compare it with the network, because their order in `forward` may be another one.

    >>> layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    >>> layers[1].running_var.fill_(4.0), folded(layers)[1]
    (tensor([4., 4., 4., 4.]), Identity())
    """
    network = copy.deepcopy(network).eval()
    for parent in list(network.modules()):
        children = list(parent.named_children())
        for (_, conv), (name, norm) in itertools.pairwise(children):
            if type(conv) is nn.Conv2d and isinstance(norm, nn.BatchNorm2d) and _folds(norm):
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight,
                    conv.bias,
                    norm.running_mean,  # type: ignore[arg-type]
                    norm.running_var,  # type: ignore[arg-type]
                    norm.eps,
                    norm.weight,
                    norm.bias,
                )
                setattr(parent, name, _rest(norm))
    return network


def _folds(norm: nn.BatchNorm2d) -> bool:
    return norm.running_mean is not None and norm.running_var is not None


def _rest(norm: nn.BatchNorm2d) -> nn.Module:
    """What remains of it: timm's batch normalisations hold the activation as well."""
    after = [module for module in (getattr(norm, "drop", None), getattr(norm, "act", None)) if module is not None]
    after = [module for module in after if not isinstance(module, nn.Identity)]
    return nn.Sequential(*after) if after else nn.Identity()
