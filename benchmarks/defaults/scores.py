"""What a ranking is worth, query by query: pooled, and re-ranked with any share of the structural similarity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.defaults.tasks import Task
from diml.evaluation.metrics import map_at_r, recall_at
from diml.matching import Matcher, prepare, top_k

SHORTLIST = 100
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Quality:
    """Of q queries: whether the first hit is right, and MAP@R, each (q,)."""

    recall: Numbers
    precision: Numbers


class Ranking:
    """Shortlists of a task by its pooled vectors."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.queries = prepare(task.queries)
        self.gallery = self.queries if task.same else prepare(task.gallery)
        pooled = self.queries.pooled @ self.gallery.pooled.mT
        if task.same:
            pooled.fill_diagonal_(-torch.inf)
        classes = {label: k for k, label in enumerate(sorted({*task.query_labels, *task.gallery_labels}))}
        of_queries, of_gallery = (
            torch.tensor([classes[label] for label in labels]) for labels in (task.query_labels, task.gallery_labels)
        )
        self.n_relevant = torch.bincount(of_gallery, minlength=len(classes))[of_queries] - int(task.same)
        self.classes = of_queries, of_gallery
        asking = self.n_relevant > 0
        self.groups = [label for label, asks in zip(task.query_labels, asking.tolist(), strict=True) if asks]
        self.pooled, self.shortlist = pooled.topk(min(SHORTLIST, pooled.shape[1] - int(task.same)), dim=1)
        self.relevant = of_queries[:, None] == of_gallery[self.shortlist]

    def structural(self, matcher: Matcher) -> Tensor:
        """(q, K) structural similarities of the shortlists."""
        return matcher.replace(weight=1.0).rerank(self.queries, self.gallery, self.shortlist)

    def quality(self, structural: Tensor | None = None, weight: float = 0.0) -> Quality:
        """Of the pooled ranking, or re-ranked by `(1 - weight) pooled + weight structural`."""
        score = self.pooled if structural is None else (1 - weight) * self.pooled + weight * structural
        order = score.argsort(dim=1, descending=True, stable=True)
        return self._quality(self.relevant.gather(1, order))

    def exhaustive(self, matcher: Matcher) -> Quality:
        """Of the ranking of the whole gallery by similarity, every pair matched."""
        places = max(8, int(self.n_relevant.max())) + int(self.task.same)
        found = top_k(matcher, self.queries, self.gallery, places).indices
        relevant = self.classes[0][:, None] == self.classes[1][found]
        if self.task.same:  # a query's own place is closed
            own = found == torch.arange(len(found))[:, None]
            relevant = relevant.gather(1, own.to(torch.int8).argsort(dim=1, stable=True))[:, :-1]
        return self._quality(relevant)

    def _quality(self, relevant: Tensor) -> Quality:
        asking = self.n_relevant > 0
        relevant, wanted = relevant[asking], self.n_relevant[asking]
        return Quality(recall_at(relevant, 1).numpy(), map_at_r(relevant, wanted).numpy())
