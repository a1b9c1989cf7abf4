"""Fitting the head of an untrained model: its size, the sample of images, and the description stored with the model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from diml.errors import ImageError, UsageError
from diml.feature_maps import FeatureMaps
from diml.model.fitting import Fitting

if TYPE_CHECKING:
    from diml.data.located import Located
    from diml.model.structural import StructuralModel

# Default number of outputs.
DIM = 128
# Largest sample: more images change the covariance little.
MOST = 5000


def head_dim(dim: int | None, channels: int) -> int:
    """Number of outputs of a head: for None `DIM`, or the backbone's channels where these are fewer; 0 means no head.

    Raises:
        UsageError: dim is below 0 or above the number of channels.

    >>> head_dim(None, 1280), head_dim(None, 64), head_dim(0, 64)
    (128, 64, 0)
    """
    if dim is None:
        return min(DIM, channels)
    if not 0 <= dim <= channels:
        raise UsageError(f"expected a head of dim 1 to the backbone's {channels} channels, or 0 for none, got {dim}")
    return dim


@dataclass(frozen=True)
class HeadFitting:
    """PCA whitening to `dim` outputs, fitted on a random but reproducible sample of a collection.

    Attributes:
        dim: outputs of the head, at least 1.
        most: largest number of images in the sample; `least` takes precedence.
        seed: seed of the sample.
        required: if True, `dim + 1` images are enough and fewer are an error. If False, fewer than `2 dim` images leave
            the model without a head, as whitening fitted on so few is noise.
    """

    dim: int
    most: int = MOST
    seed: int = 0
    required: bool = False

    @property
    def least(self) -> int:
        """Smallest number of images that a head is fitted on."""
        return self.dim + 1 if self.required else 2 * self.dim

    def sample(self, images: int) -> list[int]:
        """Indices of the images to fit on, ascending; none where there are fewer than `least`.

        Raises:
            UsageError: there are fewer than `least`, and the head is required.

        >>> HeadFitting(dim=2, most=5).sample(100), HeadFitting(dim=2).sample(3)
        ([5, 33, 49, 53, 97], [])
        """
        if images < self.least:
            self._refuse(images)
            return []
        # Random, because the first images of a collection usually belong to its first classes.
        return sorted(random.Random(self.seed).sample(range(images), min(images, max(self.most, self.least))))

    def fit(self, model: StructuralModel, means: Sequence[Float[Tensor, "n c"]], images: int, name: str) -> bool:
        """Fit the model's head in place, and return whether there were enough images.

        Args:
            model: a model without a head.
            means: `FeatureMaps.mean` of the readable images of the sample, batch by batch.
            images: number of images in the collection.
            name: name of the collection, for `StructuralModel.head_fitted_on`.

        Raises:
            UsageError: there are too few images and the head is required, or all embeddings are equal.
        """
        readable = sum(map(len, means))
        if readable < self.least:
            self._refuse(readable)
            return False
        words = f"{readable} of the {images} images of {name}"
        model.fit_head(FeatureMaps(torch.cat(list(means))[:, None], (1, 1)), self.dim, on=words)
        return True

    def fit_files(
        self,
        model: StructuralModel,
        files: Sequence[Path | Located],
        name: str,
        progress: Callable[[int, int], None] | None = None,
        unread: dict[int, ImageError] | None = None,
    ) -> bool:
        """As `fit`, on a sample of image files; weights that depend on a collection are fitted as well.

        See `Fitting.files`.
        """
        return Fitting(model, self, seed=self.seed).files(files, name, progress, unread)

    def _refuse(self, images: int) -> None:
        if self.required:
            raise UsageError(
                f"expected more than {self.dim} images to fit a head of dim {self.dim}, got {images}; "
                "give more images, or a smaller dim"
            )
