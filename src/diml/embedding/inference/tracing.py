"""A network as a graph of operations, which other engines can read."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn


def traced(network: nn.Module, example: Tensor) -> Any:
    """The network as TorchScript, by running it on two copies of an image: what depends on the number is not fixed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that become constants; the maps are compared afterwards
        two = example.expand(2, -1, -1, -1).contiguous()
        return torch.jit.trace(network, two, check_trace=False)  # type: ignore[no-untyped-call]
