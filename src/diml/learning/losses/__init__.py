"""Losses on matched parts, and the registry of losses by name. Needs pytorch-metric-learning (extra `train`)."""

from diml.errors import DimlError

try:
    import pytorch_metric_learning  # noqa: F401
except ImportError:
    raise DimlError(
        "the losses need pytorch-metric-learning, which is not installed; pip install 'diml[train]'"
    ) from None
