"""`GET /v1/jobs/{id}`: how far a job is, as a document or as a stream of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from diml.service.documents import document
from diml.service.examples import JOB, shown
from diml.service.jobs import Job, Jobs
from diml.service.problems import RequestError

# Seconds between two looks at a job, and between two signs of life where nothing changes.
LOOK = 0.1
ALIVE = 15.0
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"example": f"event: progress\ndata: {json.dumps(JOB)}\n\n"}}}
}


def job_routes(jobs: Jobs) -> APIRouter:
    """The routes about jobs."""
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @router.get("/{id}", summary="How far a job is", responses=shown(JOB))
    async def job(id: str) -> Response:
        """The state of a job, and at its end its report or its error."""
        return document(_found(jobs, id).to_dict())

    @router.get(
        "/{id}/events", summary="How far a job is, as it goes on", response_class=StreamingResponse, responses=EVENTS
    )
    async def events(id: str) -> Response:
        """Server-sent events: `progress` with the same document whenever it changes, and `end` with the last one."""
        found = _found(jobs, id)
        return StreamingResponse(
            _events(jobs, found), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    return router


def _found(jobs: Jobs, id: str) -> Job:
    found = jobs.find(id)
    if found is None:
        raise RequestError(
            404, "there is no such job; those of a service that was stopped are forgotten, and what they stored is kept"
        )
    return found


async def _events(jobs: Jobs, job: Job) -> AsyncIterator[str]:
    said, quiet = "", 0.0
    while True:
        ended = job.ended is not None or jobs.stopping.is_set()
        text = json.dumps(job.to_dict(), ensure_ascii=False)
        if ended:
            yield f"event: end\ndata: {text}\n\n"
            return
        if text != said:
            yield f"event: progress\ndata: {text}\n\n"
            said, quiet = text, 0.0
        elif quiet >= ALIVE:
            yield ": still there\n\n"
            quiet = 0.0
        await asyncio.sleep(LOOK)
        quiet += LOOK
