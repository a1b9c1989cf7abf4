"""A codec: feature maps to codes of a fixed number of bytes an image, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diml.matching import CodeLayout
from diml.matching.kernels.coded_maps import NIBBLE, places
from diml.search.codes.pooling import pooled_parts
from diml.search.codes.product import Product
from diml.search.codes.vectors import VectorCode

# Images whose maps are held in float32 at once.
BLOCK = 1024


class Decoder(Protocol):
    """What reads codes."""

    @property
    def layout(self) -> CodeLayout:
        """The same for a kernel that reads codes itself."""

    def decode(self, codes: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n r d"]:
        """The maps that codes stand for."""


@dataclass(frozen=True, eq=False)
class Codec:
    """Codes of the maps of an image: `kept` vectors, and, where there are fewer than parts, which of them a part has.

    Attributes:
        parts: of an image.
        kept: vectors of an image.
        vectors: the code of each vector.
        fitted_on: in words, what centroids were fitted on; empty without any.

    >>> from diml.search.codes import parse_codes
    >>> codec = parse_codes("pool2+int8", 4, 3)
    >>> local = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    >>> codes = codec.encode(local, torch.full((1, 4), 0.25))
    >>> codes.shape, (codec.decode(codes) - local).abs().max().item() < 1e-3
    (torch.Size([1, 12]), True)
    """

    parts: int
    kept: int
    vectors: VectorCode
    fitted_on: str = ""

    @property
    def name(self) -> str:
        return self.vectors.name if self.kept == self.parts else f"pool{self.kept}+{self.vectors.name}"

    @property
    def bytes(self) -> int:
        """Of an image."""
        return self._places + self.kept * self.vectors.bytes

    @property
    def fitted(self) -> bool:
        return self.vectors.fitted

    @cached_property
    def layout(self) -> CodeLayout:
        """How a kernel reads the codes; of a codec that is fitted."""
        centroids = self.vectors.centroids if isinstance(self.vectors, Product) else None
        tables = None if centroids is None else centroids[None]
        return CodeLayout(self.vectors.form, self.parts, self.kept, self.vectors.dim, tables)

    @property
    def _places(self) -> int:
        """Bytes that say which vector each part has; two parts share one where half a byte is enough."""
        return places(self.parts, self.kept)

    def fit(self, local: Float[Tensor, "n r d"], weights: Float[Tensor, "n r"], on: str) -> Codec:
        """The same codec, fitted on maps.

        Args:
            on: what they are, in words.

        Raises:
            UsageError: too few of them.
        """
        pairs = zip(torch.split(local, BLOCK), torch.split(weights, BLOCK), strict=True)
        pieces = [self._pooled(piece.float(), weight)[0].flatten(0, 1) for piece, weight in pairs]
        return replace(self, vectors=self.vectors.fit(torch.cat(pieces)), fitted_on=on)

    @torch.no_grad()
    def encode(self, local: Float[Tensor, "n r d"], weights: Float[Tensor, "n r"]) -> UInt8[Tensor, "n bytes"]:
        """The codes of n images, whose parts have these weights."""
        out = torch.empty(len(local), self.bytes, dtype=torch.uint8)
        for at in range(0, len(local), BLOCK):
            piece = slice(at, at + BLOCK)
            vectors, which = self._pooled(local[piece].float(), weights[piece])
            codes = self.vectors.encode(vectors.flatten(0, 1)).reshape(len(vectors), -1)
            out[piece] = codes if which is None else torch.cat([self._packed(which), codes], dim=1)
        return out

    @torch.no_grad()
    def decode(self, codes: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n r d"]:
        """The maps that codes stand for."""
        n = len(codes)
        vectors = self.vectors.decode(codes[:, self._places :].reshape(n * self.kept, self.vectors.bytes))
        vectors = vectors.reshape(n, self.kept, -1)
        if not self._places:
            return vectors
        which = self._unpacked(codes[:, : self._places]).long()
        return vectors.gather(1, which[:, :, None].expand(-1, -1, vectors.shape[2]))

    def _packed(self, which: Tensor) -> Tensor:
        places = which.to(torch.uint8)
        if self.kept > NIBBLE:
            return places
        places = torch.nn.functional.pad(places, (0, self.parts % 2))
        return places[:, 0::2] | (places[:, 1::2] << 4)

    def _unpacked(self, packed: Tensor) -> Tensor:
        if self.kept > NIBBLE:
            return packed
        return torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)[:, : self.parts]

    def _pooled(self, local: Tensor, weights: Tensor) -> tuple[Tensor, Tensor | None]:
        return pooled_parts(local, weights, self.kept) if self._places else (local, None)
