"""`GET /health`: whether the service can answer; and the first search of each index, which makes it ready."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from functools import partial

from fastapi import APIRouter, Response

from diml.errors import DimlError
from diml.search import Index
from diml.service.answering import Answering
from diml.service.documents import document
from diml.service.indexes import ServedIndex
from diml.service.logs import LOGGER
from diml.service.problems import problem
from diml.service.request_log import request_id

_logger = logging.getLogger(LOGGER)


class Warming:
    """Opens the indices and searches each of them once: compiling and loading take seconds, which no user should wait.

    Attributes:
        ready: all of it is done, or has failed with a reason that the index states.
    """

    def __init__(self, answering: Answering) -> None:
        self.ready = False
        self._answering = answering

    async def run(self) -> None:
        for name in self._answering.indexes:
            try:
                async with self._answering.using(name) as used:
                    await self._answering.compute(partial(_warm, used.index))
                    _logger.info("index opened", extra={"fields": {"index": name, "images": len(used.index)}})
            except DimlError as error:
                fields = {"index": name, "reason": str(error)}
                _logger.warning("index not opened", extra={"fields": fields})
        self.ready = True


def _warm(index: Index) -> None:
    for entry in index.entries(limit=1):
        index.search(index.maps(entry.id), k=2)


def health_routes(answering: Answering, warming: Warming) -> APIRouter:
    """The route that load balancers and containers ask."""
    router = APIRouter(tags=["service"])

    @router.get(
        "/health",
        summary="Whether the service can answer",
        response_class=Response,
        responses={
            200: {"content": {"application/json": {"example": {"status": "ok", "indexes": {"photos": "ready"}}}}}
        },
    )
    async def health() -> Response:
        """200 once the indices are open and their models answer; 503 with the reason before, and if none of them does.

        One index of several that cannot be used is stated, and does not take the others with it.
        """
        reasons: dict[str, str] = {}
        for name, served in answering.indexes.items():
            reason = await _reason(answering, served) if warming.ready else served.reason
            if reason is not None:
                reasons[name] = reason
        states = {name: "unavailable" if name in reasons else "ready" for name in answering.indexes}
        if warming.ready and len(reasons) < len(states):
            stated = {"reasons": reasons} if reasons else {}
            return document({"status": "degraded" if reasons else "ok", "indexes": states, **stated})
        why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "the first search is being prepared"
        headers, body = problem(503, why, request_id(), {"retry-after": "1"})
        return Response(json.dumps({**json.loads(body), "indexes": states}).encode(), 503, headers)

    return router


async def _reason(answering: Answering, served: ServedIndex) -> str | None:
    """Why an index cannot be used now."""
    with suppress(DimlError):  # which the index states as its reason
        await answering.run(served.current)
    return served.reason
