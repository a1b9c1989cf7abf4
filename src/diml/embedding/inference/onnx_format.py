"""A network in the ONNX format."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def onnx_bytes(
    network: nn.Module, example: Tensor, outputs: Sequence[str] | None = None, about: Mapping[str, str] | None = None
) -> bytes:
    """The network as an ONNX model that takes `pixels` (n, 3, H, W), for any n.

    Args:
        network: without gradients, in evaluation mode.
        example: pixels of one image, whose height and width become fixed.
        outputs: their names.
        about: stored with the model, as metadata.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example.expand(2, -1, -1, -1).contiguous(),),
            input_names=["pixels"],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("images")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(about or {})
    data: bytes = program.model_proto.SerializeToString()
    return data


@contextlib.contextmanager
def _quiet(name: str):  # type: ignore[no-untyped-def]
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
