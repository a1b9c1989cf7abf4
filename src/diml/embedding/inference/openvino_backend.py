"""OpenVINO: made of the traced network, without a file in between."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diml.embedding.inference.tracing import traced


def compiled(backbone: nn.Module, example: Tensor, precision: str = "f32") -> Callable[[Tensor], Any]:
    """Compiled for the CPU, for any number of images of the example's size, computing in f32 or bf16."""
    openvino = _imported()
    core = openvino.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise RuntimeError("this processor does not compute in bfloat16")
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    front = FrontEndManager().load_by_framework("pytorch")
    network = traced(backbone, example)
    decoder = TorchScriptPythonDecoder(network, shared_memory=False)
    read = front.load(decoder)
    model = front.convert(read)
    model.reshape([-1, *example.shape[1:]])
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    lock = threading.Lock()

    def run(pixels: Tensor) -> Any:
        with lock:
            found = request.infer({0: pixels.contiguous().numpy()}, share_inputs=True, share_outputs=True)
            outputs = [torch.from_numpy(np.array(found[at])) for at in range(len(found))]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run


def _imported() -> Any:
    # Without this, importing OpenVINO tells its makers of it.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
