"""Directions of the embedding in which tokens differ by their position alone, and a head that leaves them out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diml.embedding.encoder import Encoder
from diml.errors import UsageError

# Noise images that positions are measured on.
IMAGES = 32


def position_directions(tokens: Float[Tensor, "n r c"], count: int) -> Float[Tensor, "k c"]:
    """The widest directions in which the mean token of a position varies from position to position.

    The mean over images is taken at every position, the mean over positions is subtracted, and the `count` widest
    principal directions are kept. Tokens `x = content + code(position)`, whose content does not depend on the position
    on average, lose their code by `x - U^T U x`. The same map is applied at all positions, so it may be part of a head
    (`fit_whitening(without=)`).

    Args:
        tokens: of n images at r positions, without a head.
        count: 1 to the smaller of r - 1 and c - 1.

    Returns:
        U, orthonormal rows; fewer than `count` where the means vary in fewer directions.

    Raises:
        UsageError: the count is out of range, or the means do not vary.

    >>> code = torch.zeros(4, 3)
    >>> code[:, 2] = torch.arange(4.0)
    >>> content = torch.randn(500, 1, 3, generator=torch.Generator().manual_seed(0))
    >>> position_directions(content + code, 1).abs().round(decimals=3)
    tensor([[0., 0., 1.]])
    """
    _, positions, channels = tokens.shape
    most = min(positions, channels) - 1
    if not 1 <= count <= most:
        raise UsageError(
            f"expected 1 to {most} directions of position, for {positions} positions and {channels} channels, got "
            f"{count}"
        )
    means = tokens.detach().mean(dim=0, dtype=torch.float64).cpu()
    _, singular, directions = torch.linalg.svd(means - means.mean(dim=0), full_matrices=False)
    # Means that are equal up to rounding do not vary.
    kept = int((singular > max(singular[0] * 1e-6, means.abs().max() * 1e-7)).sum())
    if kept == 0:
        raise UsageError("expected tokens that depend on their position, got the same mean token at all positions")
    found: Tensor = directions[: min(count, kept)]
    return found.to(tokens)


@torch.no_grad()
def noise_tokens(encoder: Encoder, images: int = IMAGES, seed: int = 0) -> Float[Tensor, "n r c"]:
    """Tokens of noise images on the backbone's own grid, without a head: what they have in common is their position.

    Images of a collection have more in common than that, such as an object in their middle.

    Args:
        encoder: any encoder; its head and its grid are not used.
        images: number of images of independent uniform pixels.
        seed: of the noise.

    >>> from diml.embedding import Preprocessing
    >>> encoder = Encoder(torch.nn.Conv2d(3, 8, 16, 16), Preprocessing(size=(64, 64)))
    >>> noise_tokens(encoder, images=3).shape
    torch.Size([3, 16, 8])
    """
    generator = torch.Generator().manual_seed(seed)
    training = encoder.training
    encoder.eval()
    try:
        found = []
        for _ in range(images):
            noise = torch.rand(1, 3, *encoder.preprocessing.size, generator=generator)
            found.append(encoder.features(encoder.preprocessing.normalise(noise)).flatten(2).mT)
        return torch.cat(found)
    finally:
        encoder.train(training)
