"""The log of requests: ids, one line each, and nothing of what people send."""

import asyncio
import json
import logging
import subprocess
import sys
from logging.config import dictConfig
from textwrap import dedent

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.staticfiles import StaticFiles

from diml.search.stages import reporting, stage
from diml.service.logs import JsonLines, log_config
from diml.service.metrics import Metrics
from diml.service.request_log import RequestLog, current_record, request_id


@pytest.fixture
def metrics():
    return Metrics()


@pytest.fixture
def app(metrics, tmp_path):
    app = FastAPI()

    @app.get("/v1/indexes/{name}")
    async def asked(name: str) -> dict[str, str]:
        record = current_record()
        record.index = "photos"
        with reporting(record.stage), stage("decode"):
            await asyncio.sleep(0.002)
        await asyncio.to_thread(record.stage, "match", 0.25)
        record.waited("embed", 0.5)
        return {"id": request_id(), "in_thread": await asyncio.to_thread(request_id)}

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError("out of order")

    @app.get("/slow")
    async def slow(request: Request) -> None:
        await asyncio.sleep(10)

    app.mount("/page", StaticFiles(directory=tmp_path))
    app.add_middleware(RequestLog, metrics=metrics)
    return app


@pytest.fixture
def configured():
    """The log as the service configures it; afterwards as it was."""
    dictConfig(log_config())
    yield
    for name in ("diml.service", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)


@pytest.fixture
def lines(configured):
    """The lines of the log so far, in the format that the service writes."""
    logger, found = logging.getLogger("diml.service"), []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(json.loads(JsonLines().format(record)))
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def ask(app, path, method="GET", **headers):
    async def ask_once():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(ask_once())


def test_one_line_with_the_id_the_route_and_the_stages(app, lines):
    answer = ask(app, "/v1/indexes/photos")
    (line,) = lines
    assert answer.headers["x-request-id"] == answer.json()["id"] == answer.json()["in_thread"] == line["request_id"]
    assert (line["event"], line["level"], line["method"], line["status"]) == ("request", "info", "GET", 200)
    assert (line["route"], line["index"]) == ("/v1/indexes/{name}", "photos")
    assert line["stages"]["match"] == 0.25
    assert line["stages"]["decode"] >= 0.002
    assert line["seconds"] >= line["stages"]["decode"]


def test_a_stage_counts_in_the_metrics_and_waiting_for_a_batch_does_not(app, metrics):
    ask(app, "/v1/indexes/photos")
    assert metrics.value("diml_stage_seconds_sum", stage="match") == 0.25
    assert metrics.value("diml_stage_seconds_count", stage="embed") == 0
    assert metrics.value("diml_requests_total", route="/v1/indexes/{name}", method="GET", status="200") == 1


def test_nothing_that_was_sent_is_in_the_line(app, lines):
    secret = "SECRET"
    ask(app, f"/v1/indexes/{secret}?where=label='{secret}'", authorization=f"Bearer {secret}", cookie=secret)
    ask(app, f"/{secret}")
    ask(app, f"/page/{secret}.jpg")
    assert len(lines) == 3
    assert secret not in json.dumps(lines)


@pytest.mark.parametrize(
    ("path", "route", "status"),
    [
        ("/none", None, 404),
        ("/page/none.js", "/page/{file}", 404),
        ("/openapi.json", "/openapi.json", 200),
        ("/v1/indexes/a", "/v1/indexes/{name}", 200),
    ],
)
def test_the_template_of_a_route(app, lines, path, route, status):
    ask(app, path)
    assert (lines[0]["route"], lines[0]["status"]) == (route, status)


def test_a_wrong_method_is_counted_for_its_route(app, metrics):
    ask(app, "/v1/indexes/a", method="PUT")
    assert metrics.value("diml_requests_total", route="/v1/indexes/{name}", method="PUT", status="405") == 1


@pytest.mark.parametrize("given", ["a", "0123-4567_89.z", "x" * 64])
def test_a_valid_id_is_kept(app, given):
    assert ask(app, "/v1/indexes/photos", **{"x-request-id": given}).json()["id"] == given


@pytest.mark.parametrize("given", ["", "x" * 65, "a b", 'a"b', "a\tb", "é", "{}"])
def test_another_id_is_replaced(app, given):
    answer = ask(app, "/v1/indexes/photos", **{"x-request-id": given.encode()})
    assert answer.json()["id"] != given
    assert len(answer.json()["id"]) == 32
    assert answer.headers.get_list("x-request-id") == [answer.json()["id"]]


def test_every_request_has_its_own_id(app):
    async def ask_many():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await asyncio.gather(*[client.get("/v1/indexes/photos") for _ in range(50)])

    answers = asyncio.run(ask_many())
    assert len({answer.json()["id"] for answer in answers}) == 50
    assert all(answer.json()["id"] == answer.headers["x-request-id"] for answer in answers)


def test_an_unexpected_error_leaves_its_traceback_in_one_line(app, lines, metrics):
    answer = ask(app, "/broken")
    error, request = lines
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == error["request_id"]
    assert "out of order" not in answer.text
    assert error["request_id"] == request["request_id"]
    assert error["level"] == "error"
    assert "RuntimeError: out of order" in error["traceback"]
    assert request["status"] == 500
    assert metrics.value("diml_requests_total", route="/broken", method="GET", status="500") == 1


def test_an_answer_that_has_begun_is_broken_off_by_an_error(metrics, lines):
    async def breaks(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("out of order")

    async def ask_it():
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        sent = []

        async def send(message):
            sent.append(message["type"])

        with pytest.raises(RuntimeError):
            await RequestLog(breaks, metrics)(scope, None, send)
        return sent

    assert asyncio.run(ask_it()) == ["http.response.start"]
    assert lines[-1]["status"] == 500


def test_a_client_that_left_is_counted_apart(app, lines, metrics):
    async def leave():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            await asyncio.wait_for(client.get("/slow"), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(leave())
    assert lines[0]["status"] == 499
    assert metrics.value("diml_requests_total", route="/slow", method="GET", status="499") == 1
    assert metrics.value("diml_requests_running") == 0


def test_outside_a_request_there_is_no_record():
    assert current_record() is None
    assert request_id() == "-"


def test_a_line_stays_one_line():
    record = logging.LogRecord("diml.service", logging.WARNING, "", 0, "read %s", ("a\nb\u2028c",), None)
    text = JsonLines().format(record)
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text)["event"] == "read a\nb\u2028c"


def test_the_servers_own_messages_are_lines_too_and_its_log_of_requests_is_off():
    program = """
        import logging
        from logging.config import dictConfig
        from diml.service.logs import log_config

        dictConfig(log_config())
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 7)
        logging.getLogger("uvicorn.access").info("GET /?q=secret")
        logging.getLogger("diml.service.jobs").warning("read-only media")
        """
    run = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=True)
    events = [json.loads(line)["event"] for line in run.stderr.splitlines()]
    assert events == ["Started server process [7]", "read-only media"]
