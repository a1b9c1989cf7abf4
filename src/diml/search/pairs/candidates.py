"""Candidates: pairs of images whose pooled vectors are near enough, found by products of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Candidates that are handled together.
PIECE = 2**18


class CandidateBlock(NamedTuple):
    """Candidates among the images of two blocks.

    Attributes:
        rows, columns: the number of the first image of each block.
        is_candidate: for every image of the one with every image of the other.
    """

    rows: int
    columns: int
    is_candidate: Bool[Tensor, "n m"]

    @property
    def images(self) -> Int[Tensor, " k"]:
        """Numbers of the images that are part of any candidate, ascending."""
        rows, columns = (self.is_candidate.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
        return numbers_in(rows + self.rows, columns + self.columns)

    def pieces(self) -> Iterator[tuple[Int[Tensor, " p"], Int[Tensor, " p"]]]:
        """Numbers of the two images of each candidate, ordered by the first, then by the second."""
        height, width = self.is_candidate.shape
        step = height if int(self.is_candidate.sum()) <= PIECE else max(1, PIECE // width)
        for start in range(0, height, step):
            i, j = self.is_candidate[start : start + step].nonzero(as_tuple=True)
            if len(i):
                yield i + (start + self.rows), j + self.columns


def candidate_blocks(pooled: Float[Tensor, "n d"], least: float, side: int) -> Iterator[CandidateBlock]:
    """Every pair once, the smaller number first, in the blocks that hold any candidates.

    Args:
        pooled: unit vectors.
        least: the product from which on a pair is a candidate.
        side: images in a block.

    >>> vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    >>> [[(i.tolist(), j.tolist()) for i, j in block.pieces()] for block in candidate_blocks(vectors, 0.9, 4)]
    [[([0], [2])]]
    """
    starts = range(0, len(pooled), side)
    for rows in starts:
        for columns in starts[rows // side :]:
            near = pooled[rows : rows + side] @ pooled[columns : columns + side].mT >= least
            if rows == columns:
                near = near.triu(1)
            if near.any():
                yield CandidateBlock(rows, columns, near)


def numbers_in(*numbers: Int[Tensor, " k"]) -> Int[Tensor, " n"]:
    """Each number once, ascending.

    >>> numbers_in(torch.tensor([3, 1]), torch.tensor([1]))
    tensor([1, 3])
    """
    return torch.from_numpy(np.unique(torch.cat(numbers).numpy()))
