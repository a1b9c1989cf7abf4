"""Feature maps as an index stores them, in bytes, from which a kernel computes unit rows while it compares them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diml.errors import UsageError
from diml.feature_maps import FeatureMaps, normalised

# How the bytes of a vector are read: float16 numbers; whole numbers of 8 or 4 bits after a float16 scale; the numbers
# of centroids, one byte for each piece.
FORMS = ("float16", "int8", "int4", "product")
# Bytes of the number of the table of centroids that an image ends with, where there are several, least significant
# first.
TAG = 2
# Vectors that half a byte can name.
NIBBLE = 16
CENTROIDS = 256
# Numbers that compiled code reads beyond the last.
BEYOND = 16


def places(parts: int, kept: int) -> int:
    """Bytes of an image that say which of its vectors each part has; two parts share one where half a byte is enough.

    >>> places(16, 16), places(15, 8), places(25, 17)
    (0, 8, 25)
    """
    if kept == parts:
        return 0
    return parts if kept > NIBBLE else (parts + 1) // 2


@dataclass(frozen=True, eq=False)
class CodeLayout:
    """What the bytes of an image are: which vector each part has, the vectors, and the number of a table of centroids.

    Attributes:
        form: of a vector, one of `FORMS`.
        parts: of an image.
        kept: vectors of an image; where it has fewer than parts, half a byte a part says which it has, or a byte.
        dim: numbers of a vector.
        centroids: (tables, pieces, 256, width) with the form "product", the first pieces as long as `width`, and those
            that are one number shorter filled with 0; None otherwise.
        tagged: whether an image ends with the number of its table.
    """

    form: str
    parts: int
    kept: int
    dim: int
    centroids: Float[Tensor, "tables m 256 width"] | None = None
    tagged: bool = False

    def __post_init__(self) -> None:
        if self.form not in FORMS or (self.form == "product") != (self.centroids is not None):
            raise UsageError(f"expected one of {', '.join(FORMS)}, the last with centroids, got {self.form!r}")
        if not 1 <= self.kept <= self.parts:
            raise UsageError(f"expected 1 to {self.parts} vectors of as many parts, got {self.kept}")
        shape = None if self.centroids is None else tuple(self.centroids.shape)
        if shape is not None and shape[2:] != (CENTROIDS, -(-self.dim // shape[1])):
            raise UsageError(f"expected centroids (tables, m, 256, dim / m) for dim {self.dim}, got {shape}")

    @property
    def places(self) -> int:
        """Bytes that say which vector each part has."""
        return places(self.parts, self.kept)

    @property
    def vector_bytes(self) -> int:
        """Of a vector."""
        if self.centroids is not None:
            return self.centroids.shape[1]
        return {"float16": 2 * self.dim, "int8": self.dim + 2, "int4": (self.dim + 1) // 2 + 2}[self.form]

    @property
    def bytes(self) -> int:
        """Of an image."""
        return self.places + self.kept * self.vector_bytes + (TAG if self.tagged else 0)

    @cached_property
    def flat_centroids(self) -> np.ndarray:
        """All centroids as compiled code reads them, with sixteen numbers behind them."""
        numbers = torch.zeros(0) if self.centroids is None else self.centroids.float().reshape(-1)
        return torch.nn.functional.pad(numbers, (0, BEYOND)).numpy()


class CodedMaps:
    """Maps of n images, on the CPU, that are not decoded before they are compared.

    Args:
        codes: (n, bytes) uint8, as `layout` says; may be read-only.
        layout: what they are.
        grid: rows and columns of the parts.
        decode: gives the maps (n, r, d) that codes (n, bytes) stand for, for all that no kernel reads.
        own_pooled: (n, d) pooled vectors; by default the weighted mean of the parts, as in `FeatureMaps`.
        weights: (n, r) of the parts, as in `FeatureMaps`.

    Raises:
        UsageError: shapes that do not fit, or weights that are negative or not finite.

    >>> layout = CodeLayout("int8", parts=1, kept=1, dim=2)
    >>> half = torch.tensor([0.5]).half().view(torch.uint8).numpy()
    >>> codes = np.concatenate([half, np.array([3, 4], np.uint8)])[None]
    >>> CodedMaps(codes, layout, (1, 1), decode=lambda codes: torch.tensor([[[1.5, 2.0]]])).pooled
    tensor([[0.6000, 0.8000]])
    """

    def __init__(
        self,
        codes: np.ndarray,
        layout: CodeLayout,
        grid: tuple[int, int],
        decode: Callable[[UInt8[Tensor, "n bytes"]], Float[Tensor, "n r d"]],
        own_pooled: Float[Tensor, "n d"] | None = None,
        weights: Float[Tensor, "n r"] | None = None,
    ) -> None:
        n = len(codes)
        if codes.dtype != np.uint8 or codes.shape != (n, layout.bytes) or not codes.flags.c_contiguous:
            raise UsageError(
                f"expected rows of {layout.bytes} bytes in one piece, got {codes.dtype} of shape {codes.shape}"
            )
        if grid[0] * grid[1] != layout.parts:
            raise UsageError(f"expected a grid of {layout.parts} parts, got {grid[0]}x{grid[1]}")
        if own_pooled is not None and own_pooled.shape != (n, layout.dim):
            raise UsageError(f"expected pooled of shape {(n, layout.dim)}, got {tuple(own_pooled.shape)}")
        self.codes, self.layout, self.grid, self.decode = codes, layout, grid, decode
        self.own_pooled = own_pooled
        device = torch.device("cpu")
        self.weights = None if weights is None else normalised(weights, (n, layout.parts), device)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, r, d)."""
        return len(self.codes), self.layout.parts, self.layout.dim

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, piece: slice) -> CodedMaps:
        pooled, weights = (None if x is None else x[piece] for x in (self.own_pooled, self.weights))
        return CodedMaps(self.codes[piece], self.layout, self.grid, self.decode, pooled, weights)

    def to(self, device: torch.device) -> CodedMaps | FeatureMaps:
        """The same, or feature maps on another device."""
        return self if device.type == "cpu" else self.maps().to(device)

    def maps(self) -> FeatureMaps:
        """The maps that the codes stand for, without a geometry."""
        local = self.decode(torch.from_numpy(self.codes.copy()))
        return FeatureMaps(local, self.grid, self.own_pooled, weights=self.weights)

    @cached_property
    def pooled(self) -> Float[Tensor, "n d"]:
        """(n, d) float32 unit pooled vectors."""
        from diml.matching.kernels.code_rows import unit_pooled  # loads numba

        return unit_pooled(self)
