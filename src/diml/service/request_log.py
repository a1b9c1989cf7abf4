"""A record of each request: its id, its stages, and the line of the log that it leaves."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diml.service.logs import LOGGER
from diml.service.metrics import Metrics
from diml.service.problems import problem

HEADER = b"x-request-id"
VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

# The status that the log and the metrics state where the client left before the answer began.
CLIENT_LEFT = 499
UNEXPECTED = "an unexpected error, which is in the log of the service under this request_id"

_current: ContextVar[RequestRecord | None] = ContextVar("request", default=None)
_logger = logging.getLogger(LOGGER)


@dataclass
class RequestRecord:
    """What is noted about one request while it is answered.

    Attributes:
        id: of the request, which its answer and all its events in the log state.
        metrics: where stages are counted as well.
        index: the name of the index that was asked; None where it is none.
        stages: seconds by stage. One that is gone through several times adds up.
    """

    id: str
    metrics: Metrics
    index: str | None = None
    stages: dict[str, float] = field(default_factory=dict)

    def stage(self, name: str, seconds: float) -> None:
        """Note how long a stage took, in the record and in the metrics."""
        self.metrics.stage(name, seconds)
        self.waited(name, seconds)

    def waited(self, name: str, seconds: float) -> None:
        """Note a stage in the record alone: embedding, which the metrics count once for a whole batch."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds


def current_record() -> RequestRecord | None:
    """The record of the request that this task answers; None elsewhere.

    Threads that `asyncio.to_thread` starts have it as well; those of an executor do not.
    """
    return _current.get()


def request_id() -> str:
    """The id of the request that this task answers; `-` elsewhere."""
    record = _current.get()
    return "-" if record is None else record.id


class RequestLog:
    """ASGI middleware, the outermost: gives each request an id, counts it, and logs one line about it.

    An unexpected error is logged with its traceback and, where no answer has begun, answered by a problem document.

    The line states the route's template, never the path, the query string or the headers of the request: these may
    hold what people search for. The id is that of the header X-Request-Id if it is 1 to 64 letters, digits, dots,
    underscores or hyphens; otherwise it is made here.

    Args:
        app: what answers.
        metrics: where requests are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = RequestRecord(_id_of(scope), self._metrics)
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [each for each in message.get("headers", ()) if each[0].lower() != HEADER]
                message = {**message, "headers": [*headers, (HEADER, record.id.encode())]}
            await send(message)

        token = _current.set(record)
        start = time.perf_counter()
        try:
            with self._metrics.running():
                await self._app(scope, receive, send_with_id)
        except Exception:
            _logger.exception("unexpected error", extra={"fields": {"request_id": record.id}})
            if status is not None:  # the server breaks the connection off: the client must not take it for an answer
                status = 500
                raise
            await _send_problem(record.id, send_with_id)
        finally:
            _current.reset(token)
            self._finish(scope, record, CLIENT_LEFT if status is None else status, time.perf_counter() - start)

    def _finish(self, scope: Scope, record: RequestRecord, status: int, seconds: float) -> None:
        route = _template(scope)
        self._metrics.request(route, scope["method"], status, seconds)
        fields = {
            "request_id": record.id,
            "method": scope["method"],
            "route": route,
            "status": status,
            "seconds": round(seconds, 6),
            "stages": {name: round(taken, 6) for name, taken in record.stages.items()},
            "index": record.index,
        }
        _logger.info("request", extra={"fields": fields})


async def _send_problem(id: str, send: Send) -> None:
    headers, body = problem(500, UNEXPECTED, id)
    headers["content-length"] = str(len(body))
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 500, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


def _template(scope: Scope) -> str | None:
    """The template of the route that answered; None where the request came to none, such as for an unknown path."""
    if "route" in scope:
        return str(scope["route"].path)
    if "app_root_path" in scope:  # a folder of files
        return str(scope["root_path"]).removeprefix(scope["app_root_path"]) + "/{file}"
    return scope["path"] if "endpoint" in scope and not scope["path_params"] else None


def _id_of(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == HEADER and VALID_ID.fullmatch(value):
            return str(value, "ascii")
    return uuid.uuid4().hex
