"""One search: an index, a model and what is asked for, ready for one query or many."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from diml.feature_maps import FeatureMaps
from diml.matching import Matcher
from diml.model import Query, Source, StructuralModel, WholeQuery
from diml.model.sources import as_list
from diml.search.hits import FailedQuery, SearchResult
from diml.search.limits import SearchShortlist
from diml.search.many import BLOCK, block_size, rank_many
from diml.search.ranking import Ranked, rank
from diml.search.read_state import Opened
from diml.search.stored_rows import StoredRows


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
    opened: Opened[StoredRows] | None
    model: StructuralModel
    own: Matcher
    k: int
    shortlist: SearchShortlist
    where: str | None

    def result(self, query: Query) -> SearchResult:
        """The hits of a query."""
        found = Ranked([], 0)
        if self.opened is not None:
            found = rank(self.opened.store, self.opened.manifest, query, self.k, self.shortlist, self.where)
        return self._result(query, found)

    def stream(
        self, images: FeatureMaps | Iterable[Source], batch_size: int, together: int | None = None
    ) -> Iterator[SearchResult | FailedQuery]:
        """A result for each image, or why it cannot be read, in their order.

        Args:
            images: embedded in batches; decoded images are not kept.
            batch_size: images per pass of the model.
            together: queries that are ranked together, at most; the more, the faster. By default as many as there is
                memory for.
        """
        size = BLOCK if together is None else max(1, together)
        if self.opened is not None:
            size = min(size, block_size(self.opened.manifest, self.k, self.shortlist))
        queries = self._queries(images, batch_size)
        while block := list(itertools.islice(queries, size)):
            results = iter(self._results([query for query in block if isinstance(query, Query)]))
            yield from (next(results) if isinstance(query, Query) else query for query in block)

    def _results(self, queries: list[Query]) -> list[SearchResult]:
        if self.opened is None:
            return [self.result(query) for query in queries]
        asked = self.k, self.shortlist, self.where
        ranked = rank_many(self.opened.store, self.opened.manifest, queries, *asked) if queries else []
        return [self._result(query, found) for query, found in zip(queries, ranked, strict=True)]

    def _result(self, query: Query, found: Ranked) -> SearchResult:
        settings = changed_settings(self.own, query)
        asked = self.where, self.index, settings
        return SearchResult(found.hits, self.k, found.shortlist, query, *asked, found.maps_read)

    def _queries(self, images: FeatureMaps | Iterable[Source], batch_size: int) -> Iterator[Query | FailedQuery]:
        if isinstance(images, FeatureMaps):
            yield from (self.model.query(images[i]) for i in range(len(images)))
            return
        sources: dict[int, Source] = {}
        numbered = (sources.setdefault(at, image) for at, image in enumerate(as_list(images)))
        for batch in self.model.stream(numbered, batch_size=batch_size):
            found: dict[int, Query | FailedQuery] = {
                at: FailedQuery(sources.pop(at), error) for at, error in batch.failures
            }
            for i, at in enumerate(batch.indices):
                found[at] = WholeQuery(model=self.model, maps=batch.maps[i], source=sources.pop(at))
            yield from (found[at] for at in sorted(found))


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
