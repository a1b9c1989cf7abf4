"""The head: an affine map from the backbone's channels to the embedding, applied to every location alike."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diml.errors import UsageError

# Added to every variance, as a share of the mean one of the kept directions: keeps whitening from blowing up noise.
SHRINKAGE = 0.1


def fit_whitening(pooled: Float[Tensor, "n c"], dim: int, shrinkage: float = SHRINKAGE) -> nn.Linear:
    """PCA whitening of pooled vectors as an affine layer: centre, rotate to the `dim` widest directions, scale.

    `y_k = v_k . (x - mean) / sqrt(var_k + shrinkage * mean_k var_k)`, with `v_k, var_k` the eigenvectors and -values
    of the covariance (Jegou & Chum 2012). An affine head commutes with the mean over locations, so similarities of
    whitened maps still decompose exactly. Directions without variance are dropped: the head may have fewer than
    `dim` outputs.

    Args:
        pooled: (n, c), one vector per image, n > dim.
        dim: outputs wanted, 1..c.
        shrinkage: >= 0.

    Raises:
        UsageError: too few images, dim out of range, or vectors that are all the same.

    >>> import torch
    >>> x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9.0)
    >>> head = fit_whitening(x, 4, shrinkage=0.0)
    >>> torch.allclose(head(x).T.cov(), torch.eye(4), atol=1e-4)
    True
    """
    images, channels = pooled.shape
    if not 1 <= dim <= channels:
        raise UsageError(f"a head of dim {dim} was asked for; expected 1 to the backbone's {channels} channels")
    if images <= dim:
        raise UsageError(
            f"{images} images came to fit a head of dim {dim}; "
            f"give more than {dim}, better twice as many, or a smaller dim"
        )
    if not torch.isfinite(pooled).all():
        raise UsageError("NaN or infinite vectors came to fit a head; check the images or the model")
    x = pooled.detach().double().cpu()
    mean = x.mean(dim=0)
    _, singular, directions = torch.linalg.svd(x - mean, full_matrices=False)
    variance = singular.square() / (images - 1)
    # An eigenvalue at the level of rounding is a direction in which the images do not differ.
    kept = int((variance > variance[0] * 1e-10).sum()) if variance[0] > 0 else 0
    if kept == 0:
        raise UsageError(f"{images} images came to fit a head and all embed alike; give images that differ")
    variance, directions = variance[: min(dim, kept)], directions[: min(dim, kept)]
    scaled = directions / (variance + shrinkage * variance.mean()).sqrt()[:, None]
    # An SVD leaves the sign of each direction open; fixing it makes heads repeat across machines.
    strongest = directions.abs().argmax(dim=1, keepdim=True)
    scaled = scaled * directions.gather(1, strongest).sign()
    head = nn.Linear(channels, len(scaled))
    with torch.no_grad():
        head.weight.copy_(scaled)
        assert head.bias is not None
        head.bias.copy_(-(scaled @ mean))
    return head.to(pooled.device)
