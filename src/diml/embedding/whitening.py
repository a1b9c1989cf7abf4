"""PCA whitening as a head: an affine map from the backbone's channels to the embedding, applied at every location."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diml.errors import UsageError

# Added to every variance, as a share of the mean variance of the kept directions, so that noise is not amplified.
SHRINKAGE = 0.1


def fit_whitening(
    pooled: Float[Tensor, "n c"],
    dim: int,
    shrinkage: float = SHRINKAGE,
    without: Float[Tensor, "k c"] | None = None,
) -> nn.Linear:
    """PCA whitening of pooled vectors as an affine layer: centre, rotate to the `dim` widest directions, scale.

    `y_k = v_k . (x - mean) / sqrt(var_k + shrinkage * mean_k var_k)`, with `v_k, var_k` the eigenvectors and -values
    of the covariance (Jegou & Chum 2012). An affine head commutes with the mean over locations, so similarities of
    whitened maps still decompose exactly. Directions without variance are dropped, so the head may have fewer than
    `dim` outputs.

    Args:
        pooled: (n, c), one vector per image, n > dim.
        dim: number of outputs, 1..c.
        shrinkage: >= 0.
        without: orthonormal directions that the head does not see, such as those of `position_directions`: they are
            projected out of the vectors before the head is fitted, and by the head out of all that it is applied to.

    Raises:
        UsageError: there are too few images, dim is out of range, or all vectors are equal.

    >>> import torch
    >>> x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0)) * torch.arange(1.0, 9.0)
    >>> head = fit_whitening(x, 4, shrinkage=0.0)
    >>> torch.allclose(head(x).T.cov(), torch.eye(4), atol=1e-4)
    True
    """
    images, channels = pooled.shape
    if not 1 <= dim <= channels:
        raise UsageError(f"expected a head of dim 1 to the backbone's {channels} channels, got {dim}")
    if images <= dim:
        raise UsageError(
            f"expected more than {dim} images, better twice as many, to fit a head of dim {dim}, got {images}; "
            "give more images, or a smaller dim"
        )
    if not torch.isfinite(pooled).all():
        raise UsageError("expected finite vectors to fit a head, got NaN or infinity; check the images or the model")
    x = pooled.detach().double().cpu()
    hidden = torch.zeros(0, channels, dtype=x.dtype) if without is None else without.detach().double().cpu()
    x = x - (x @ hidden.mT) @ hidden
    mean = x.mean(dim=0)
    _, singular, directions = torch.linalg.svd(x - mean, full_matrices=False)
    variance = singular.square() / (images - 1)
    # The images do not differ in directions whose eigenvalue is at the level of rounding errors.
    kept = int((variance > variance[0] * 1e-10).sum()) if variance[0] > 0 else 0
    if kept == 0:
        raise UsageError(f"all {images} images have the same embedding, so no head can be fitted; use other images")
    variance, directions = variance[: min(dim, kept)], directions[: min(dim, kept)]
    scaled = directions / (variance + shrinkage * variance.mean()).sqrt()[:, None]
    # The SVD does not determine the signs of the directions; fixing them makes heads reproducible across machines.
    strongest = directions.abs().argmax(dim=1, keepdim=True)
    scaled = scaled * directions.gather(1, strongest).sign()
    # They have no variance, so the rows have no share of them but for rounding.
    scaled = scaled - (scaled @ hidden.mT) @ hidden
    head = nn.Linear(channels, len(scaled))
    with torch.no_grad():
        head.weight.copy_(scaled)
        assert head.bias is not None
        head.bias.copy_(-(scaled @ mean))
    return head.to(pooled.device)
