"""The client against the real application: what it returns is what the library returns."""

from __future__ import annotations

import threading

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from diml.client import Client, ServiceError
from diml.errors import StoreError, UsageError
from diml.explanation import draw_hits, explain_contrast, explain_hit, explain_pair
from diml.search import Index
from diml.service import ServiceSettings, create_app


@pytest.fixture(scope="module")
def url(library):
    app = create_app(ServiceSettings.of(indexes=[library.path], batch=1, backend="torch"))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def client(url):
    with Client(url) as opened:
        yield opened


def assert_same(found, expected):
    assert found.to_dict(index="x", query="q") == expected.to_dict(index="x", query="q")
    for hit, own in zip(found, expected, strict=True):
        assert hit == own  # all fields but the match
        assert hit.thumbnail == own.thumbnail
        np.testing.assert_allclose(hit.match.plan, own.match.plan, atol=1e-12)
        np.testing.assert_allclose(hit.match.contributions, own.match.contributions, atol=1e-12)
        assert hit.match.regions() == own.match.regions()


def test_a_search_is_that_of_the_library(client, library, emoji):
    file = next(emoji.glob("*/noto.png"))
    assert_same(client.search(file, k=4), library.search(file, k=4))
    expected = library.search(file, k=3, shortlist="all", where="label <> 'x'")
    assert_same(client.search(file, k=3, shortlist="all", where="label <> 'x'"), expected)
    assert client.search(file).query.source == file


def test_a_part_and_an_id(client, library, emoji, tmp_path):
    file = next(emoji.glob("*/noto.png"))
    regions = [(0, 0, 64, 50.5), ((64, 64, 128, 128), 2.0)]
    assert_same(client.search(file, k=4, regions=regions), library.search(file, k=4, regions=regions))
    entry = library.entries(limit=1)[0]
    assert_same(client.search(entry.id, k=4), library.search(library.maps(entry.id), k=4))
    mask = tmp_path / "mask.png"
    Image.fromarray(np.eye(128, dtype=np.uint8) * 255).save(mask)
    found, expected = client.search(file, k=4, mask=mask), library.search(file, k=4, mask=mask)
    assert found.part.mask == "mask.png"
    assert [hit.similarity for hit in found] == [hit.similarity for hit in expected]


@pytest.mark.slow
def test_hits_are_drawn_without_a_model(client, library, emoji, tmp_path):
    file = next(emoji.glob("*/noto.png"))
    draw_hits(client.search(file, k=4), tmp_path / "client.html")
    draw_hits(library.search(file, k=4), tmp_path / "library.html")
    drawn = [(tmp_path / f"{name}.html").read_text() for name in ("client", "library")]
    assert drawn[0].replace("from emoji<", "<") == drawn[1].replace("from emoji.diml<", "<")
    result = client.search(file, k=1)
    assert explain_hit(result, result[0]).describe() == explain_hit(*_first(library.search(file, k=1))).describe()


def _first(result):
    return result, result[0]


def test_explanations(client, library, emoji):
    a, b = sorted(emoji.glob("*/noto.png"))[:2]
    entry = library.entries(limit=1)[0]
    expected = explain_pair(library.model, a, b).to_dict()
    assert client.explain(a, b).to_dict() == {**expected, "a": a.name, "b": b.name}
    expected = explain_contrast(library.model, a, b, library.maps(entry.id)).to_dict()
    assert client.contrast(a, b, entry.id).to_dict() == {
        **expected,
        "query": a.name,
        "a": b.name,
        "b": entry.path,
    }


def test_the_rest(client, library, emoji):
    assert client.info() == Index.open(library.path).stats()
    assert [each["name"] for each in client.indexes()] == ["emoji"]
    files = sorted(emoji.glob("*/noto.png"))[:2]
    maps = client.embed(files)
    for i, file in enumerate(files):
        own = library.model.encode(file)
        assert maps[i].local.equal(own.local)
        assert maps[i].weights.equal(own.weights)


@pytest.mark.parametrize(
    ("ask", "kind", "sentence"),
    [
        (lambda c: c.search("nothing.png"), UsageError, "nothing.png: cannot be read"),
        (lambda c: c.search("0123456789abcdef"), UsageError, "there is no image 0123456789abcdef"),
        (lambda c: c.search(__file__), UsageError, "test_client.py: is not an image"),
        (lambda c: c.search("0123456789abcdef", index="dogs"), UsageError, "there is no index 'dogs' here"),
        (lambda c: Client("http://127.0.0.1:9").indexes(), ServiceError, "is `diml serve` running there?"),
    ],
    ids=["no file", "no id", "no image", "no index", "no service"],
)
def test_errors(client, ask, kind, sentence):
    with pytest.raises(kind) as caught:
        ask(client)
    assert sentence in str(caught.value)


def answering(*answers):
    left = list(answers)
    seen = []

    def handle(request):
        seen.append(request)
        return left.pop(0)

    return Client("http://service.example", "secret-token-secret", transport=httpx.MockTransport(handle)), seen


def test_a_full_service_is_asked_again(monkeypatch):
    slept = []
    monkeypatch.setattr("time.sleep", slept.append)
    full = httpx.Response(429, headers={"retry-after": "3"}, json={"detail": "full"})
    client, seen = answering(full, full, httpx.Response(200, json={"indexes": []}))
    assert client.indexes() == []
    assert slept == [3.0, 3.0]
    assert [request.headers["authorization"] for request in seen] == ["Bearer secret-token-secret"] * 3
    monkeypatch.setattr("diml.client.PATIENCE", 0.0)
    with pytest.raises(ServiceError, match="full"):
        answering(full)[0].indexes()


def test_the_token_goes_to_no_other_address():
    client, seen = answering(httpx.Response(302, headers={"location": "https://elsewhere.example/"}))
    with pytest.raises(ServiceError, match="answered 302 without a reason; is it a diml service"):
        client.indexes()
    assert [request.url.host for request in seen] == ["service.example"]


def test_answers_that_are_none():
    with pytest.raises(StoreError, match="the index is gone"):
        answering(httpx.Response(503, json={"detail": "the index is gone"}))[0].indexes()
    client, _ = answering(httpx.Response(200, content=b"x" * 100))
    with pytest.raises(StoreError, match="expected an answer of a diml service"):
        client.search("0123456789abcdef", index="photos")
