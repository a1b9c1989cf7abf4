"""The queries of a search: several at once, and the settings of the matcher that they use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from diml.feature_maps import FeatureMaps
from diml.matching import Matcher
from diml.model import Query, Source, StructuralModel, WholeQuery
from diml.model.sources import as_list


def queries_of(model: StructuralModel, images: FeatureMaps | Iterable[Source], batch_size: int) -> Iterator[Query]:
    """A query for each image, embedded in batches; decoded images are not kept.

    Raises:
        ImageError: the first image that cannot be read.
    """
    if isinstance(images, FeatureMaps):
        yield from (model.query(images[i]) for i in range(len(images)))
        return
    sources = list(as_list(images))
    for batch in model.stream(sources, batch_size=batch_size):
        if batch.failures:
            raise batch.failures[0][1]
        for i, at in enumerate(batch.indices):
            yield WholeQuery(model=model, maps=batch.maps[i], source=sources[at])


def changed_settings(own: Matcher, query: Query) -> dict[str, Any]:
    """The settings that a query is matched with and that differ from the matcher of the index; of a part only `eps`."""
    used = query.model.matcher
    names = ("marginals", "weight", "eps", "mass") if query.part is None else ("eps",)
    return {name: getattr(used, name) for name in names if _differ(getattr(used, name), getattr(own, name))}


def _differ(a: object, b: object) -> bool:
    # Marginals may be functions, or tensors, which have no single truth value.
    return a != b if isinstance(a, str | float | int) and isinstance(b, str | float | int) else a is not b
