"""The evaluation protocol: which images are relevant to a query, and what is averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from diml.errors import UsageError
from diml.evaluation.metrics import map_at_r, r_precision, recall_at
from diml.evaluation.ranking import Reranker, rank
from diml.evaluation.report import METRICS, RECALLS, Evaluation
from diml.evaluation.shortlists import Shortlist, check_shortlists
from diml.evaluation.task import Labels, Task
from diml.feature_maps import FeatureMaps

PROTOCOLS = ("correct", "published")
# Called with the stage, the number of images done, and the number to do.
Progress = Callable[[str, int, int], None]


def evaluate_maps(
    query_maps: FeatureMaps,
    query_labels: Labels,
    gallery_maps: FeatureMaps | None = None,
    gallery_labels: Labels | None = None,
    *,
    matcher: Reranker,
    shortlists: Shortlist | Iterable[Shortlist] = (0, 100),
    protocol: str = "correct",
    progress: Progress | None = None,
) -> Evaluation:
    """Measure how well feature maps retrieve images of the same class.

    Computes Recall@1,2,4,8, R-precision and MAP@R (see `diml.evaluation.metrics`) of the pooled ranking and of
    re-ranked shortlists (see `rank`), averaged over the queries that have a relevant image.

    Two protocols differ in R, the number of relevant items:

    - "correct": R is how many *other* images have the class of the query. A perfect ranking scores 1.
    - "published": the published code of Zhao et al. 2021 counts the query among its own relevant items, although it is
      not in its own ranking. R is one more than can be found, so a perfect ranking scores (R - 1) / R, 0.5 for classes
      of two. Use it to compare with printed tables. Recall@k is the same in both protocols, and with a separate gallery
      all metrics are.

    Args:
        query_maps: of q images.
        query_labels: q classes, as strings or as ints.
        gallery_maps: of n images; None searches for each query among the other queries (leave-one-out).
        gallery_labels: n classes, with `gallery_maps`.
        matcher: what re-ranks the shortlists.
        shortlists: a row of results for each: 0 for the pooled ranking, K for its best K re-ranked by similarity, "all"
            for matching every pair (see `rank`).
        protocol: "correct" or "published".
        progress: called with "matching" (if a shortlist is "all") or "ranking", the number of queries done, and to do.

    Raises:
        UsageError: the protocol is unknown, a shortlist is negative, or labels and maps do not fit together.
        DatasetError: no query has a relevant image.

    >>> from diml.matching import Matcher
    >>> maps = FeatureMaps(torch.tensor([[[1.0, 0.0]], [[3.0, 0.5]], [[0.0, 1.0]], [[0.1, 1.0]]]), (1, 1))
    >>> result = evaluate_maps(maps, ["cat", "cat", "dog", "dog"], matcher=Matcher(), shortlists=[0])
    >>> result.results[0]["recall@1"], result.results[0]["map@r"]
    (1.0, 1.0)
    >>> result = evaluate_maps(maps, ["cat", "cat", "dog", "dog"], matcher=Matcher(), protocol="published")
    >>> result.results[0]["r_precision"]
    0.5
    """
    shortlists = check_settings(shortlists, protocol)
    _check_fit(query_maps, query_labels, gallery_maps, gallery_labels)
    task = Task.of(query_labels, gallery_labels)
    n_relevant = task.n_relevant + (protocol == "published" and task.leave_one_out)
    places = max(*RECALLS, int(n_relevant.max()))
    asking = task.n_relevant > 0
    rows: dict[Shortlist, list[Tensor]] = {shortlist: [] for shortlist in shortlists}

    def count(done: int, of: int) -> None:
        if progress is not None:
            progress("matching", done, of)

    for ranked in rank(query_maps, gallery_maps, matcher=matcher, shortlists=shortlists, places=places, counter=count):
        at = torch.arange(ranked.queries.start, ranked.queries.stop)[asking[ranked.queries]]
        for shortlist, order in ranked.orders.items():
            relevant = task.relevant(at, order.cpu()[at - ranked.queries.start], places)
            rows[shortlist].append(_measure(relevant, n_relevant[at]))
        if progress is not None:
            progress("ranking", ranked.queries.stop, len(query_maps))
    return Evaluation(
        dataset="feature maps",
        images=len(query_maps) + (0 if gallery_maps is None else len(gallery_maps)),
        classes=task.classes,
        model="unnamed",
        head="as in the maps",
        marginals=_name_of_marginals(matcher),
        grid=query_maps.grid,
        protocol=protocol,
        queries=int(asking.sum()),
        without_relevant=int((~asking).sum()),
        results=[_row(shortlist, torch.cat(measured)) for shortlist, measured in rows.items()],
        weight=getattr(matcher, "weight", None),
        eps=getattr(matcher, "eps", None),
        mass=getattr(matcher, "mass", None),
        transport=_name_of_transport(matcher),
    )


def check_settings(shortlists: Shortlist | Iterable[Shortlist], protocol: str) -> list[Shortlist]:
    """The shortlists; raises UsageError for settings that no data can be evaluated with."""
    checked = check_shortlists(shortlists)
    if protocol not in PROTOCOLS:
        raise UsageError(f"expected protocol to be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    return checked


def _check_fit(
    query_maps: FeatureMaps, query_labels: Labels, gallery_maps: FeatureMaps | None, gallery_labels: Labels | None
) -> None:
    if (gallery_maps is None) != (gallery_labels is None):
        raise UsageError("expected gallery maps and gallery labels together, got one of them; give both or neither")
    for maps, labels in ((query_maps, query_labels), (gallery_maps, gallery_labels)):
        if maps is not None and labels is not None and len(maps) != len(labels):
            raise UsageError(f"expected a label for each of the {len(maps)} images, got {len(labels)} labels")


def _measure(relevant: Tensor, n_relevant: Tensor) -> Tensor:
    """(b, metrics), in the order of `METRICS`."""
    recalls = [recall_at(relevant, k) for k in RECALLS]
    return torch.stack([*recalls, r_precision(relevant, n_relevant), map_at_r(relevant, n_relevant)], dim=1)


def _row(shortlist: Shortlist, measured: Tensor) -> dict[str, Any]:
    return {"shortlist": shortlist, **dict(zip(METRICS, measured.mean(dim=0).tolist(), strict=True))}


def _name_of_marginals(matcher: Reranker) -> str:
    marginals = getattr(matcher, "marginals", None)
    return marginals if isinstance(marginals, str) else "custom"


def _name_of_transport(matcher: Reranker) -> str | None:
    transport = getattr(matcher, "transport", None)
    return f"dustbin:{matcher.bin_similarity:g}" if transport == "dustbin" else transport  # type: ignore[attr-defined]
