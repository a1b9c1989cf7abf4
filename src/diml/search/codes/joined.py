"""Codes of several indices with centroids of their own, told apart by a number at their end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diml.matching import CodeLayout
from diml.matching.kernels.coded_maps import TAG
from diml.search.codes.codec import Codec


@dataclass(frozen=True, eq=False)
class JoinedCodec:
    """Reads codes by the codec whose number they end with.

    Attributes:
        codecs: of maps of one shape.

    >>> from diml.search.codes import parse_codes
    >>> codec, local = parse_codes("int8", 1, 2), torch.tensor([[[1.0, 0.5]]])
    >>> code = codec.encode(local, torch.ones(1, 1))
    >>> tagged = torch.cat([code, torch.tensor([[1, 0]], dtype=torch.uint8)], dim=1)
    >>> JoinedCodec([codec, codec]).decode(tagged).equal(codec.decode(code))
    True
    """

    codecs: Sequence[Codec]

    @cached_property
    def layout(self) -> CodeLayout:
        """How a kernel reads the codes."""
        layouts = [codec.layout for codec in self.codecs]
        tables = [layout.centroids for layout in layouts if layout.centroids is not None]
        return replace(layouts[0], centroids=torch.cat(tables) if tables else None, tagged=True)

    @torch.no_grad()
    def decode(self, codes: UInt8[Tensor, "n bytes"]) -> Float[Tensor, "n r d"]:
        """The maps that codes stand for."""
        numbers = codes[:, -TAG].long() + 256 * codes[:, -TAG + 1].long()
        present = sorted(set(numbers.tolist())) or [0]
        places = [(numbers == number).nonzero()[:, 0] for number in present]
        pieces = [
            self.codecs[number].decode(codes[place, :-TAG].contiguous())
            for number, place in zip(present, places, strict=True)
        ]
        return torch.cat(pieces)[torch.cat(places).argsort()]
