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
    """The queries and what they are to find, as numbers.

    Attributes:
        queries: (q,) class of each query, 0, 1, ...
        gallery: (n,) class of each image of the gallery; the queries themselves in leave-one-out.
        n_relevant: (q,) number of gallery images of the query's class, except for the query itself.
        classes: number of classes.
        leave_one_out: whether the queries are also the gallery.
    """

    queries: Int[Tensor, " q"]
    gallery: Int[Tensor, " n"]
    n_relevant: Int[Tensor, " q"]
    classes: int
    leave_one_out: bool

    @staticmethod
    def of(query_labels: Labels, gallery_labels: Labels | None = None) -> Task:
        """Raises DatasetError if no query has a relevant image."""
        codes: dict[Hashable, int] = {}
        queries = _encode(query_labels, codes)
        leave_one_out = gallery_labels is None
        gallery = queries if gallery_labels is None else _encode(gallery_labels, codes)
        n_relevant = gallery.bincount(minlength=len(codes))[queries] - int(leave_one_out)
        if not (n_relevant > 0).any():
            raise DatasetError(
                f"none of the {len(codes)} classes has two images, so no query has a relevant image; add images"
                if leave_one_out
                else f"no query of the {len(queries)} has an image of its class in the gallery; check the labels"
            )
        return Task(queries, gallery, n_relevant, len(codes), leave_one_out)

    def relevant(self, at: Int[Tensor, " b"], order: Int[Tensor, "b l"], places: int) -> Bool[Tensor, "b places"]:
        """Whether each place of the rankings of queries `at` has an image of their class; False past the end."""
        relevant = torch.zeros(len(at), places, dtype=torch.bool)
        relevant[:, : order.shape[1]] = self.gallery[order] == self.queries[at, None]
        return relevant


def _encode(labels: Labels, codes: dict[Hashable, int]) -> Int[Tensor, " n"]:
    """Number the classes in order of appearance, continuing `codes`, to which new classes are added."""
    values = labels.tolist() if isinstance(labels, Tensor) else labels
    return torch.tensor([codes.setdefault(value, len(codes)) for value in values], dtype=torch.int64)
