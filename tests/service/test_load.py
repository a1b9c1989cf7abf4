"""A full queue, slow answers and clients that go away."""

from __future__ import annotations

import asyncio
import threading
import time

import httpx
import pytest

from diml.errors import DimlError
from diml.service.admission import Admission
from diml.service.problems import RequestError


def test_places_are_given_back():
    admission = Admission(2)
    with admission.admitted(), admission.admitted():
        with pytest.raises(RequestError) as caught, admission.admitted():
            pass
        assert caught.value.status == 429
        assert int(caught.value.headers["retry-after"]) >= 1
    with pytest.raises(ValueError, match="x"), admission.admitted():
        raise ValueError("x")
    assert admission.active == 0


@pytest.fixture
def held(serve, emoji_index, monkeypatch):
    """A service whose searches wait for `release`."""
    client = serve(emoji_index, queue=2, seconds=3)
    release, started = threading.Event(), threading.Semaphore(0)
    from diml.service.routes import search

    found = search._found

    def slow(*arguments):
        started.release()
        assert release.wait(20)
        return found(*arguments)

    monkeypatch.setattr(search, "_found", slow)
    yield client, release, started
    release.set()


def test_a_full_queue_answers_at_once(held, library):
    client, release, started = held
    data = {"id": library.entries(limit=1)[0].id}
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("/v1/indexes/emoji/search", data=data)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert started.acquire(timeout=10)
    start = time.monotonic()
    refused = client.post("/v1/indexes/emoji/search", data=data)
    assert time.monotonic() - start < 1
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert "2 requests are in work" in refused.json()["detail"]
    assert client.get("/v1/indexes/emoji").status_code == 200  # what computes nothing is answered
    release.set()
    for thread in threads:
        thread.join(20)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert client.post("/v1/indexes/emoji/search", data=data).status_code == 200


def test_an_answer_that_takes_too_long(held, library):
    client, _, _ = held
    answer = client.post("/v1/indexes/emoji/search", data={"id": library.entries(limit=1)[0].id})
    assert answer.status_code == 504
    assert "longer than 3 s" in answer.json()["detail"]
    assert client.app.state.answering.admission.active == 0


def test_a_client_that_goes_away_is_not_computed_for(serve, emoji_index, emoji):
    client = serve(emoji_index)
    answering = client.app.state.answering
    answering._batchers.clear()
    embedded = answering.metrics.value("diml_batch_images_sum")
    data = next(emoji.glob("*/noto.png")).read_bytes()

    async def ask_and_leave():
        body = httpx.Request("POST", "http://localhost/", files={"image": ("a.png", data)})
        sent = [{"type": "http.request", "body": body.read(), "more_body": False}, {"type": "http.disconnect"}]
        headers = [(b"host", b"localhost"), (b"content-type", body.headers["content-type"].encode())]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "path": "/v1/indexes/emoji/search",
            "raw_path": b"/v1/indexes/emoji/search",
            "query_string": b"",
            "headers": headers,
            "scheme": "http",
            "server": ("localhost", 80),
            "client": ("localhost", 1),
        }
        answers = []

        async def receive():
            return sent.pop(0)

        async def send(message):
            answers.append(message)

        await client.app(scope, receive, send)
        await asyncio.sleep(0.3)
        return answers

    answers = client.portal.call(ask_and_leave)
    assert answers[0]["status"] == 499
    assert answering.metrics.value("diml_batch_images_sum") == embedded
    assert answering.admission.active == 0


def test_an_unexpected_error_is_no_traceback(serve, emoji_index, library, monkeypatch):
    client = serve(emoji_index)
    from diml.service.routes import search

    def broken(*arguments):
        raise KeyError("secret")

    monkeypatch.setattr(search, "_found", broken)
    answer = client.post("/v1/indexes/emoji/search", data={"id": library.entries(limit=1)[0].id})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]

    def failing(*arguments):
        raise DimlError("the model returned NaN")

    monkeypatch.setattr(search, "_found", failing)
    answer = client.post("/v1/indexes/emoji/search", data={"id": library.entries(limit=1)[0].id})
    assert (answer.status_code, answer.json()["detail"]) == (500, "the model returned NaN")
