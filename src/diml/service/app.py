"""The application: routes, errors as problem documents, and the work behind them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from diml import __version__
from diml.errors import DimlError
from diml.service.access import access_token, allowed_hosts
from diml.service.answering import Answering
from diml.service.examples import PROBLEM
from diml.service.guard import Guard
from diml.service.jobs import Jobs
from diml.service.metrics import Metrics
from diml.service.problems import RequestError, problem, status_of
from diml.service.request_log import RequestLog, request_id
from diml.service.routes.api_page import api_page_routes
from diml.service.routes.embed import embed_routes
from diml.service.routes.explain import explain_routes
from diml.service.routes.health import Warming, health_routes
from diml.service.routes.images import image_routes
from diml.service.routes.images_writing import writing_routes
from diml.service.routes.indexes import index_routes
from diml.service.routes.jobs import job_routes
from diml.service.routes.metrics import metrics_routes
from diml.service.routes.page import page_routes
from diml.service.routes.search import search_routes
from diml.service.settings import ServiceSettings

ABOUT = """Which images of a collection are most similar to one, and which parts make them so.

Errors are problem documents (RFC 9457) whose `detail` is one sentence: what came, what was expected, what to do.
"""


def create_app(settings: ServiceSettings) -> FastAPI:
    """The service as an ASGI application.

    Raises:
        UsageError: settings that cannot be used, such as two indices of one name.
    """
    token, hosts = access_token(settings), allowed_hosts(settings)
    metrics = Metrics()
    answering = Answering(settings, metrics)
    warming = Warming(answering)
    jobs = Jobs(metrics)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        answering.start()
        task = asyncio.create_task(warming.run())
        try:
            yield
        finally:
            task.cancel()
            jobs.close()
            await answering.close()

    app = FastAPI(
        title="diml",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses={
            "default": {
                "description": "An error, as a problem document.",
                "content": {"application/problem+json": {"example": PROBLEM}},
            }
        },
    )
    app.state.answering, app.state.jobs = answering, jobs
    for router in (
        health_routes(answering, warming),
        index_routes(answering),
        image_routes(answering),
        writing_routes(answering, jobs),
        job_routes(jobs),
        search_routes(answering),
        explain_routes(answering),
        embed_routes(answering),
        metrics_routes(metrics),
        api_page_routes(),
        page_routes(),
    ):
        app.include_router(router)
    app.add_exception_handler(DimlError, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Guard, token=token, hosts=hosts, origins=settings.allow_origins, body=settings.upload_bytes)
    app.add_middleware(RequestLog, metrics=metrics)
    return app


def _answer(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    headers, body = problem(status, detail, request_id(), headers)
    return Response(body, status, headers)


def _known(request: Request, error: Any) -> Response:
    headers = error.headers if isinstance(error, RequestError) else None
    return _answer(status_of(error), str(error), headers)


def _http(request: Request, error: Any) -> Response:
    path = request.url.path[:100]
    sentences = {
        404: f"there is nothing at {path}; see /docs for the routes",
        405: f"{path} does not answer {request.method}; see /docs for the routes",
    }
    return _answer(error.status_code, sentences.get(error.status_code, str(error.detail)), dict(error.headers or {}))


def _invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    place = ".".join(str(each) for each in first["loc"][1:]) or str(first["loc"][0])
    reason = first["msg"][0].lower() + first["msg"][1:]
    if "Expected UploadFile" in first["msg"]:
        return _answer(422, f"{place}: expected a file, got text; send it as a file of the form")
    given = first.get("input")
    got = f", got {given[:100]!r}" if isinstance(given, str) else ""
    return _answer(422, f"{place}: {reason}{got}")
