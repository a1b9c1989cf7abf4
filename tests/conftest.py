"""Bounds the number of threads, so that test processes do not compete for cores, and keeps model hubs offline."""

import os

# pytest-xdist starts one process per core: one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
os.environ["HF_HUB_OFFLINE"] = "1"

import jaxtyping
import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

MATCHING = [
    *("concentration", "functional", "marginals", "match", "matcher", "newton", "pair_lists", "partial", "parts"),
    *("reference", "regions", "score", "topk", "transport", "unit_maps"),
]
# The shapes in signatures are checked wherever tests call; compiled kernels are left as they are.
jaxtyping.install_import_hook(
    [
        "diml.feature_maps",
        "diml.embedding",
        "diml.evaluation.metrics",
        *(f"diml.matching.{module}" for module in MATCHING),
        "diml.model.rollout",
    ],
    "beartype.beartype",
)


@pytest.fixture
def unchecked_shapes():
    """For tests of what a caller gets who passes something wrong, outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
