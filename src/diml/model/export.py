"""A model in the ONNX format, for programs without PyTorch."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from diml.embedding import Encoder
from diml.embedding.inference.names import is_installed
from diml.embedding.inference.onnx_format import onnx_bytes
from diml.errors import ModelError, UsageError, first_line
from diml.files import AnyPath, user_path, write_atomic
from diml.model.structural import StructuralModel

OUTPUTS = ("local", "weights", "pooled")
# How far the outputs of the file may be from the model's, relative to the largest number of each.
AGREE = 1e-3


class _Embedding(nn.Module):
    """From pixels 0..1 to what the matching needs: parts, their weights, and the pooled vector."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder.replace(weights=None)
        self.weights = encoder.weights

    def forward(self, pixels: Float[Tensor, "n 3 H W"]) -> tuple[Tensor, Tensor, Tensor]:
        maps = self.encoder(self.encoder.preprocessing.normalise(pixels))
        local = maps.local
        # As FeatureMaps does it, without its checks of values, which no graph holds.
        given = torch.zeros_like(local[:, :, 0]) if self.weights is None else self.weights(local)
        total = given.sum(dim=1, keepdim=True)
        weights = torch.where(total > 0, given / total.clamp(min=torch.finfo(given.dtype).tiny), 1 / local.shape[1])
        pooled = (weights[:, :, None] * local).sum(dim=1) if maps.own_pooled is None else maps.own_pooled
        return local, weights, pooled


def export_onnx(model: StructuralModel, file: AnyPath) -> float:
    """Write the embedding of a model as one ONNX file, with its head and its weights of parts, and check it.

    The file takes `pixels` (n, 3, H, W), RGB of 0..1 in the model's size, and returns `local` (n, r, d), the parts row
    by row of the grid; `weights` (n, r), which sum to 1; and `pooled` (n, d). Its metadata has the model's name,
    fingerprint, grid and preprocessing.

    Returns:
        The largest difference between ONNX Runtime's outputs and the model's, relative to the largest number of each.

    Raises:
        UsageError: the extra `onnx` is not installed, or the weights of parts are not fitted.
        ModelError: the model cannot be exported, or the file computes something else; then nothing is written.
        OSError: the file cannot be written.
    """
    target = user_path(file)
    if not is_installed("onnx"):
        raise UsageError("the export needs more packages: pip install 'diml[onnx]'")
    if not model.weights_ready:
        raise UsageError(
            f"the weights {model.weights} are not fitted yet; export an index or a saved model, or use other weights"
        )
    # A copy, as the model stays where it is and in the mode that it is in.
    encoder = copy.deepcopy(model.encoder).to("cpu", torch.float32).eval()
    network = _Embedding(encoder).eval()
    pixels = torch.rand(2, 3, *model.encoder.preprocessing.size, generator=torch.Generator().manual_seed(0))
    about = {
        "diml.model": model.name,
        "diml.fingerprint": model.fingerprint,
        "diml.grid": json.dumps(model.grid),
        "diml.preprocessing": json.dumps(asdict(model.encoder.preprocessing)),
    }
    with torch.no_grad():
        maps = encoder(encoder.preprocessing.normalise(pixels))
    expected = (maps.local, maps.weights_or_uniform, maps.pooled)
    try:
        data = onnx_bytes(network, pixels[:1], OUTPUTS, about)
        found = _run(data, pixels)
    except Exception as error:  # of any library
        raise ModelError(f"{model.name} cannot be exported ({first_line(error)}); choose another model") from error
    apart = max(_apart(a, b) for a, b in zip(found, expected, strict=True))
    if not apart <= AGREE:
        raise ModelError(
            f"{model.name} cannot be exported: its outputs in ONNX Runtime are {apart:.1g} of the largest number away "
            "from those of PyTorch; choose another model"
        )
    write_atomic(target, data)
    return apart


def _run(data: bytes, pixels: Tensor) -> list[np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found: list[np.ndarray] = session.run(list(OUTPUTS), {"pixels": pixels.numpy()})
    return found


def _apart(found: np.ndarray, expected: Tensor) -> float:
    right = expected.numpy()
    return float(np.abs(found - right).max() / max(np.abs(right).max(), np.finfo(np.float32).tiny))
