"""Threads are bounded so that two test processes do not fight over two cores; nothing may reach for a model hub."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["HF_HUB_OFFLINE"] = "1"

import jaxtyping
import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# The shapes in signatures are checked wherever tests call; compiled kernels are left as they are.
jaxtyping.install_import_hook(
    [
        "diml.feature_maps",
        "diml.embedding",
        "diml.evaluation.metrics",
        *(f"diml.matching.{room}" for room in ("bounded", "functions", "marginals", "match", "matcher", "transport")),
        *(f"diml.matching.{room}" for room in ("concentration", "newton", "partial", "parts", "regions")),
        "diml.model.rollout",
        "diml.matching.unit_maps",
    ],
    "beartype.beartype",
)


@pytest.fixture
def unchecked_shapes():
    """For tests of what a caller gets who passes something wrong, outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
