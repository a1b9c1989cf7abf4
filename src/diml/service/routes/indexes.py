"""`GET /v1/indexes...`: what is served, and what its columns hold."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from diml import __version__
from diml.errors import DimlError
from diml.search import Index
from diml.service.answering import Answering
from diml.service.documents import document
from diml.service.examples import COLUMNS, INDEXES, STATS, shown


def index_routes(answering: Answering) -> APIRouter:
    """The routes about whole indices."""
    router = APIRouter(prefix="/v1", tags=["indices"])

    @router.get("/indexes", summary="The indices, and the limits of this service", responses=shown(INDEXES))
    async def indexes() -> Response:
        """The indices that are served, and what a request may ask for."""
        settings = answering.settings
        described = [await _described(answering, name) for name in answering.indexes]
        return document(
            {
                "version": __version__,
                "writable": settings.writable,
                "originals": settings.originals,
                "limits": settings.limits(),
                "indexes": described,
            }
        )

    @router.get("/indexes/{name}", summary="What is in an index", responses=shown(STATS))
    async def stats(name: str) -> Response:
        """The document of `diml info --json`."""
        async with answering.using(name) as used:
            return document(await answering.run(lambda: used.index.stats().to_dict()))

    @router.get("/indexes/{name}/columns", summary="The values of the columns", responses=shown(COLUMNS))
    async def columns(name: str, limit: Annotated[int, Query(ge=1, le=1000)] = 200) -> Response:
        """The label and the further columns, each with its most frequent values."""
        async with answering.using(name) as used:
            return document({"columns": await answering.run(lambda: _columns(used.index, limit))})

    return router


async def _described(answering: Answering, name: str) -> dict[str, Any]:
    try:
        async with answering.using(name) as used:
            stats = await answering.run(used.index.stats)
    except DimlError as error:
        reason = str(error)
        return {"name": name, "status": "unavailable", "reason": reason, "images": 0, "labels": 0, "grid": None}
    known = {"images": stats.images, "labels": stats.labels, "grid": list(stats.grid)}
    shards = {"shards": dict(stats.shards)} if stats.shards else {}
    return {"name": name, "status": "ready", "reason": None, **known, **shards}


def _columns(index: Index, limit: int) -> list[dict[str, Any]]:
    described = []
    for name in ("label", *index.columns):
        distinct, counts = index.value_counts(name, limit)
        values = [{"value": value, "count": count} for value, count in counts]
        described.append({"name": name, "distinct": distinct, "values": values})
    return described
