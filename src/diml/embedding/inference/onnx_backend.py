"""ONNX Runtime, by way of the network in the ONNX format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diml.embedding.inference.onnx_format import onnx_bytes


def compiled(backbone: nn.Module, example: Tensor) -> Callable[[Tensor], Any]:
    """A session on the CPU in float32, for any number of images of the example's size."""
    import onnxruntime

    model = onnx_bytes(backbone, example)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(pixels: Tensor) -> Any:
        outputs = [torch.from_numpy(each) for each in session.run(None, {name: pixels.contiguous().numpy()})]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run
