"""Who may ask: names, origins, tokens, sizes; and what answers tell browsers."""

from __future__ import annotations

import os

import httpx
import pytest

from diml.errors import UsageError
from diml.service.access import access_token, allowed_hosts
from diml.service.guard import Guard
from diml.service.settings import ServiceSettings
from diml.service.token import read_token
from tests.service.in_a_loop import run_async

TOKEN = "0123456789abcdef0123"
BEARER = {"authorization": f"Bearer {TOKEN}"}
IMAGES = "/v1/indexes/photos/images"


async def echo(scope, receive, send):
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(body)).encode()})


def ask(method="GET", path="/v1/indexes", headers=None, content=b"", **settings):
    given = {"token": None, "hosts": {"localhost"}, "origins": (), "body": 1000, **settings}

    async def main():
        transport = httpx.ASGITransport(Guard(echo, **given))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
            return await client.request(method, path, headers=headers, content=content)

    return run_async(main())


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:8000", "127.0.0.1.nip.io", ""]
)
def test_another_name_is_refused(host):
    answer = ask(headers={"host": host})
    assert answer.status_code == 421
    assert "not known as" in answer.json()["detail"]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "localhost:"])
def test_its_own_names(host):
    assert ask(headers={"host": host}).status_code == 200


def test_ipv6():
    assert ask(headers={"host": "[::1]:8000"}, hosts={"::1"}).status_code == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:9000", "http://localhost"])
def test_pages_of_other_sites_compute_nothing(origin):
    answer = ask("POST", "/v1/explain", {"origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in ask(headers={"origin": origin}).headers


def test_its_own_page_and_programs():
    assert ask("POST", "/v1/explain", {"origin": "http://localhost:8000"}).status_code == 200
    assert (
        ask("POST", "/v1/explain", {"origin": "https://localhost:8000"}).status_code == 200
    )  # behind a proxy with TLS
    assert ask("POST", "/v1/explain").status_code == 200


def test_an_origin_that_is_named():
    origins = ["https://shop.example"]
    answer = ask("POST", "/v1/explain", {"origin": "https://shop.example"}, origins=origins)
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert ask("POST", "/v1/explain", {"origin": "https://evil.example"}, origins=origins).status_code == 403
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    answer = ask("OPTIONS", "/v1/explain", asked, origins=origins, token=TOKEN)
    assert answer.status_code == 204
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    refused = ask("POST", "/v1/explain", {"origin": "https://shop.example"}, origins=origins, token=TOKEN)
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"


@pytest.mark.parametrize(
    "given", ["", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer \xe9"]
)
def test_a_wrong_token(given):
    answer = ask(headers={"authorization": given.encode("latin-1")}, token=TOKEN)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert TOKEN not in answer.text


def test_the_token():
    assert ask(headers=BEARER, token=TOKEN).status_code == 200
    assert ask(path=f"/v1/indexes?token={TOKEN}", token=TOKEN).status_code == 401


@pytest.mark.parametrize("path", ["/", "/health", "/page/main.js", "/docs", "/docs/swagger-ui.css"])
def test_what_needs_no_token(path):
    assert ask(path=path, token=TOKEN).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/v1/indexes", "/page/../v1/indexes", "/healthy", "/x"])
def test_what_needs_a_token(path):
    assert ask(path=path, token=TOKEN).status_code == 401


@pytest.mark.parametrize(("method", "path"), [("POST", IMAGES), ("DELETE", IMAGES), ("DELETE", f"{IMAGES}/ab")])
def test_changes_need_a_token_also_on_this_machine(method, path):
    assert ask(method, path).status_code == 403
    assert ask(method, path, token=TOKEN).status_code == 401
    assert ask(method, path, BEARER, token=TOKEN).status_code == 200


def test_the_size_of_a_body():
    assert ask("POST", "/v1/explain", content=bytes(1000)).text == "1000"
    assert ask("POST", "/v1/explain", content=bytes(1001)).status_code == 413


def test_headers_of_answers():
    headers = ask().headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in headers["content-security-policy"]


def token_file(tmp_path, text=TOKEN + "\n", mode=0o600):
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_a_token_file(tmp_path):
    assert read_token(token_file(tmp_path)) == TOKEN
    assert read_token(token_file(tmp_path, mode=0o400)) == TOKEN


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_token_file_that_others_can_read(tmp_path, mode):
    with pytest.raises(UsageError, match=f"has mode {mode:04o}, so others may read the token; use: chmod 600"):
        read_token(token_file(tmp_path, mode=mode))


@pytest.mark.parametrize("text", ["", "short", "has a space in its middle", "0123456789abcdef\nsecond line", "é" * 20])
def test_no_token_in_the_file(tmp_path, text):
    with pytest.raises(UsageError, match="holds no token: expected one line of at least 16 characters; make one"):
        read_token(token_file(tmp_path, text))


def test_no_token_file(tmp_path):
    for place in (tmp_path / "nothing", tmp_path):
        with pytest.raises(UsageError, match=r"as a token|regular file"):
            read_token(place)


def settings(**given):
    return ServiceSettings.of(indexes=["photos.diml"], **given)


def test_other_machines_and_changes_need_a_token(tmp_path):
    assert access_token(settings()) is None
    with pytest.raises(UsageError, match=r"--host 0.0.0.0 lets other machines in, which needs a --token-file"):
        access_token(settings(host="0.0.0.0"))
    with pytest.raises(UsageError, match="--writable needs a --token-file"):
        access_token(settings(writable=True))
    assert access_token(settings(host="0.0.0.0", writable=True, token_file=token_file(tmp_path))) == TOKEN


def test_names_of_the_service():
    assert allowed_hosts(settings()) == {"localhost", "127.0.0.1", "::1"}
    assert "shop.example" in allowed_hosts(settings(host="0.0.0.0", allow_hosts=["shop.example"]))
    assert allowed_hosts(settings(host="0.0.0.0")) == frozenset()
