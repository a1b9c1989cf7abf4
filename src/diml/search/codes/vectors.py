"""Codes of single vectors: float16, and whole numbers of 8 or 4 bits."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Float, Int8, UInt8
from torch import Tensor

from diml.matching.kernels import is_compiled

# Smaller numbers than float16 has, in place of the largest of a vector of zeros.
TINY = 1e-12
# Shares of a vector's largest number that 4-bit numbers may end at: cutting off the largest leaves finer steps.
CUTS = {8: (1.0,), 4: (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)}


class VectorCode(Protocol):
    """How a vector becomes bytes.

    Attributes:
        name: as in `parse_codes`.
        form: as in `CodeLayout`.
        bytes: of a vector.
        fitted: whether it is ready; codes with centroids are fitted on a sample first.
    """

    name: str

    @property
    def form(self) -> str: ...

    @property
    def dim(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def fitted(self) -> bool: ...

    def fit(self, vectors: Float[Tensor, "n d"]) -> VectorCode:
        """The same code, fitted on some vectors."""

    def encode(self, vectors: Float[Tensor, "n d"]) -> UInt8[Tensor, "n bytes"]: ...

    def decode(self, codes: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n d"]: ...


def as_halves(data: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n numbers"]:
    """Bytes as float16 numbers; copied, as a part of a single row may lie at an odd place."""
    return data.clone(memory_format=torch.contiguous_format).view(torch.float16)


class Half:
    """Float16 numbers, as an index without codes has them."""

    name = form = "float16"
    fitted = True

    def __init__(self, dim: int) -> None:
        self.dim, self.bytes = dim, 2 * dim

    def fit(self, vectors: Float[Tensor, "n d"]) -> Half:
        return self

    def encode(self, vectors: Float[Tensor, "n d"]) -> UInt8[Tensor, "n bytes"]:
        return vectors.half().contiguous().view(torch.uint8)

    def decode(self, codes: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n d"]:
        return as_halves(codes).float()


class Whole:
    """Whole numbers of 8 or 4 bits, times one float16 number for each vector: its scale.

    The scale is the one of least squares, `<x, q> / <q, q>`, for numbers `q = round(x / step)`; of several steps, that
    of the least error is taken.

    >>> code = Whole(8, 3)
    >>> code.decode(code.encode(torch.tensor([[1.0, -0.5, 0.25]])))
    tensor([[ 0.9980, -0.5029,  0.2515]])
    """

    fitted = True

    def __init__(self, bits: int, dim: int) -> None:
        self.bits, self.dim = bits, dim
        self.name = self.form = f"int{bits}"
        self.bytes = 2 + (dim if bits == 8 else (dim + 1) // 2)

    def fit(self, vectors: Float[Tensor, "n d"]) -> Whole:
        return self

    def encode(self, vectors: Float[Tensor, "n d"]) -> UInt8[Tensor, "n bytes"]:
        scale, numbers = self._numbers(vectors)
        if self.bits == 4:
            numbers = torch.nn.functional.pad(numbers, (0, self.dim % 2))
            pairs = (numbers + 8).view(torch.uint8)
            packed = pairs[:, 0::2] | (pairs[:, 1::2] << 4)
        else:
            packed = numbers.view(torch.uint8)
        return torch.cat([scale.half().view(torch.uint8), packed], dim=1)

    def _numbers(self, vectors: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n 1"], Int8[Tensor, "n d"]]:
        """The scale of each vector, and its whole numbers."""
        most = 2 ** (self.bits - 1) - 1
        if is_compiled():
            from diml.search.codes import whole_kernel  # loads numba

            return whole_kernel.whole_numbers(vectors, most, CUTS[self.bits], TINY)
        peak = vectors.abs().amax(dim=1, keepdim=True).clamp(min=TINY)
        best = least = None
        for cut in CUTS[self.bits]:
            whole = (vectors * (most / cut / peak)).round().clamp(-most, most)
            scale = (vectors * whole).sum(1, keepdim=True) / (whole * whole).sum(1, keepdim=True).clamp(min=1)
            error = (vectors - scale * whole).square().sum(1, keepdim=True)
            if best is None or least is None:
                best, least = torch.cat([scale, whole], 1), error
            else:
                better = error < least
                best = torch.where(better, torch.cat([scale, whole], 1), best)
                least = torch.where(better, error, least)
        assert best is not None
        return best[:, :1], best[:, 1:].to(torch.int8)

    def decode(self, codes: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n d"]:
        return self.decode_rows(codes, 1)[:, 0]

    def decode_rows(self, rows: UInt8[Tensor, "n size"], kept: int) -> Float[Tensor, "n kept d"]:
        """The vectors whose codes each row begins with."""
        if is_compiled():
            from diml.search.codes import whole_kernel  # loads numba

            return whole_kernel.vectors(rows, kept, self.dim, self.bits)
        codes = rows[:, : kept * self.bytes].reshape(-1, self.bytes)
        scale = as_halves(codes[:, :2]).float()
        packed = codes[:, 2:].contiguous()
        if self.bits == 4:
            numbers = torch.stack([packed & 15, packed >> 4], dim=2).flatten(1)[:, : self.dim].float() - 8
        else:
            numbers = packed.view(torch.int8).float()
        return (numbers * scale).reshape(len(rows), kept, self.dim)
