"""OpenVINO: made of the traced network, without a file in between."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


def compiled(backbone: nn.Module, example: Tensor) -> Callable[[Tensor], Any]:
    """Compiled for the CPU in float32, for any number of images of the example's size."""
    openvino = _imported()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front = FrontEndManager().load_by_framework("pytorch")
    decoder = TorchScriptPythonDecoder(_traced(backbone, example), shared_memory=False)
    read = front.load(decoder)
    model = front.convert(read)
    model.reshape([-1, *example.shape[1:]])
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()

    def run(pixels: Tensor) -> Any:
        # One request at a time: `Inference` lets one thread in.
        found = request.infer({0: pixels.contiguous().numpy()}, share_inputs=True, share_outputs=True)
        outputs = [torch.from_numpy(np.array(found[at])) for at in range(len(found))]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run


def _traced(network: nn.Module, example: Tensor) -> Any:
    """The network as TorchScript, by running it on two copies of an image: what depends on the number is not fixed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that become constants; the maps are compared afterwards
        two = example.expand(2, -1, -1, -1).contiguous()
        return torch.jit.trace(network, two, check_trace=False)  # type: ignore[no-untyped-call]


def _imported() -> Any:
    # Without this, importing OpenVINO tells its makers of it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
