"""One search: an index, a model and what is asked for, ready for one query or many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from diml.evaluation.shortlists import Shortlist
from diml.feature_maps import FeatureMaps
from diml.matching import Matcher
from diml.model import Query, Source, StructuralModel, WholeQuery
from diml.model.sources import as_list
from diml.search.hits import SearchResult
from diml.search.index_state import Opened
from diml.search.ranking import Ranked, rank


@dataclass(frozen=True)
class Searcher:
    """Searches one state of an index; see `Index.search` for k, shortlist and where.

    Attributes:
        index: path of the index.
        opened: None if nothing is stored yet.
        model: embeds the queries and compares.
        own: the matcher of the index, before any of its settings was changed.
    """

    index: str
    opened: Opened | None
    model: StructuralModel
    own: Matcher
    k: int
    shortlist: Shortlist
    where: str | None

    def queries(self, images: FeatureMaps | Iterable[Source], batch_size: int) -> Iterator[Query]:
        """A query for each image, embedded in batches; decoded images are not kept.

        Raises:
            ImageError: the first image that cannot be read.
        """
        if isinstance(images, FeatureMaps):
            yield from (self.model.query(images[i]) for i in range(len(images)))
            return
        sources = list(as_list(images))
        for batch in self.model.stream(sources, batch_size=batch_size):
            if batch.failures:
                raise batch.failures[0][1]
            for i, at in enumerate(batch.indices):
                yield WholeQuery(model=self.model, maps=batch.maps[i], source=sources[at])

    def result(self, query: Query) -> SearchResult:
        """The hits of a query."""
        found = Ranked([], 0)
        if self.opened is not None:
            found = rank(self.opened.store, self.opened.manifest, query, self.k, self.shortlist, self.where)
        settings = changed_settings(self.own, query)
        return SearchResult(found.hits, self.k, found.shortlist, query, self.where, self.index, settings)


def changed_settings(own: Matcher, query: Query) -> dict[str, Any]:
    """The settings that a query is matched with and that differ from those of the index; for a part only `eps`."""
    used = query.model.matcher
    names = ("marginals", "weight", "eps", "mass", "transport") if query.part is None else ("eps",)
    if used.transport == "dustbin" and query.part is None:
        names = (*names, "bin_similarity")
    return {name: getattr(used, name) for name in names if _differ(getattr(used, name), getattr(own, name))}


def _differ(a: object, b: object) -> bool:
    # Marginals may be functions, or tensors, which have no single truth value.
    return a != b if isinstance(a, str | float | int) and isinstance(b, str | float | int) else a is not b
