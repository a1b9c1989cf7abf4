"""The retrieval task: the classes of queries and gallery as numbers, and which images are relevant."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from diml.errors import DatasetError

Labels = Sequence[str] | Sequence[int] | Tensor


@dataclass(frozen=True)
class Task:
    """Who asks and what is to be found, as numbers.

    Attributes:
        queries: (q,) class of each query, 0, 1, ...
        gallery: (n,) class of each image of the gallery; the queries themselves in leave-one-out.
        n_relevant: (q,) images of the gallery that are of the query's class, without the query itself.
        classes: how many there are.
        leave_one_out: whether the queries are looked for among themselves.
    """

    queries: Int[Tensor, " q"]
    gallery: Int[Tensor, " n"]
    n_relevant: Int[Tensor, " q"]
    classes: int
    leave_one_out: bool

    @staticmethod
    def of(query_labels: Labels, gallery_labels: Labels | None = None) -> Task:
        """Raises DatasetError where no query has anything to find."""
        codes: dict[Hashable, int] = {}
        queries = _encode(query_labels, codes)
        leave_one_out = gallery_labels is None
        gallery = queries if gallery_labels is None else _encode(gallery_labels, codes)
        n_relevant = gallery.bincount(minlength=len(codes))[queries] - int(leave_one_out)
        if not (n_relevant > 0).any():
            raise DatasetError(
                f"no class of the {len(codes)} has two images; there is nothing to be found, add images"
                if leave_one_out
                else f"no query of the {len(queries)} has an image of its class in the gallery; check the labels"
            )
        return Task(queries, gallery, n_relevant, len(codes), leave_one_out)

    def relevant(self, at: Int[Tensor, " b"], order: Int[Tensor, "b l"], places: int) -> Bool[Tensor, "b places"]:
        """Whether the images at the places of rankings are of the class of the queries `at`; False past their end."""
        relevant = torch.zeros(len(at), places, dtype=torch.bool)
        relevant[:, : order.shape[1]] = self.gallery[order] == self.queries[at, None]
        return relevant


def _encode(labels: Labels, codes: dict[Hashable, int]) -> Int[Tensor, " n"]:
    """Number the classes as they come, going on from those that `codes` has; it is added to."""
    values = labels.tolist() if isinstance(labels, Tensor) else labels
    return torch.tensor([codes.setdefault(value, len(codes)) for value in values], dtype=torch.int64)
