"""pytorch-metric-learning, of which the losses and miners here are made, or an error naming the extra it comes with."""

from diml.errors import DimlError

try:
    from pytorch_metric_learning import distances, losses, miners, regularizers
    from pytorch_metric_learning.utils import loss_and_miner_utils
except ImportError:
    raise DimlError(
        "the losses take pytorch-metric-learning, which is not installed; pip install 'diml[train]'"
    ) from None

__all__ = ["distances", "loss_and_miner_utils", "losses", "miners", "regularizers"]
