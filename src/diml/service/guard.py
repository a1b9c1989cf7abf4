"""Who may ask: the Host and Origin of a request, its token, the size of its body; and headers that protect browsers."""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diml.service.problems import RequestError, problem
from diml.service.request_log import request_id

READING = ("GET", "HEAD", "OPTIONS")
# The page and its files hold no data, and load balancers have no token.
OPEN = re.compile(r"/|/health|/docs(/[\w.-]+)?|/page/[\w.-]+")
CHANGING = re.compile(r"/v1/indexes/[^/]+/images(/[^/]+)?")
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """ASGI middleware that refuses requests before anything is read of them.

    - The Host header must name this service: a web site whose name is made to point here is not let in.
    - A request that computes or changes something must not come from another web site, which Origin tells.
    - With a token every request must carry it, except for the page itself and `/health`. Requests that change an index
      need one always, also on loopback, where any page of a browser on this machine can send requests.
    - The body has a largest size.

    Args:
        app: what answers.
        token: None where there is none.
        hosts: names, without ports; empty for any, which is safe only with a token.
        origins: of other web sites that may use the service, such as `https://shop.example`.
        body: largest size of a body in bytes.
    """

    def __init__(
        self, app: ASGIApp, token: str | None, hosts: Collection[str], origins: Collection[str], body: int
    ) -> None:
        self._app = app
        self._token = None if token is None else token.encode()
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin", "").lower()
        allowed = origin if origin in self._origins else ""
        if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _send(send, 204, _cors(allowed, preflight=True), b"")
            return
        refused = self._refusal(scope, headers, origin)
        if refused is not None:
            status, detail, extra = refused
            await _send(send, *_problem(status, detail, {**HEADERS, **_cors(allowed), **extra}))
            return
        await self._app(scope, self._limited(receive), _protecting(send, allowed))

    def _refusal(self, scope: Scope, headers: Headers, origin: str) -> tuple[int, str, dict[str, str]] | None:
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            return 421, f"this service is not known as {host[:100]!r}; start it with --allow-host for another name", {}
        reading = scope["method"] in READING
        if origin and not reading and origin not in self._origins and urlsplit(origin).netloc != host.lower():
            return 403, f"pages of {origin[:100]} may not use this service; start it with --allow-origin for them", {}
        changes = not reading and CHANGING.fullmatch(scope["path"]) is not None
        if changes and self._token is None:
            return 403, "this service changes nothing without a token; start it with --token-file and --writable", {}
        if self._token is not None and (changes or not OPEN.fullmatch(scope["path"])) and not self._carries(headers):
            sentence = "this service needs its token; send it in the header Authorization: Bearer TOKEN"
            return 401, sentence, {"www-authenticate": 'Bearer realm="diml"'}
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > self._body:
            return 413, _too_large(self._body), {"connection": "close"}
        return None

    def _carries(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        assert self._token is not None
        same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self._token)
        return same and kind.lower() == "bearer"

    def _limited(self, receive: Receive) -> Receive:
        """A body of unknown length is counted while it arrives."""
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._body:
                raise RequestError(413, _too_large(self._body), {"connection": "close"})
            return message

        return counted


def _too_large(limit: int) -> str:
    return f"the request is larger than the {limit:,} bytes that are taken; send a smaller image"


def _name(host: str) -> str:
    """The name in a Host header, without its port.

    >>> _name("LOCALHOST:8000"), _name("[::1]:8000"), _name("photos.example")
    ('localhost', '::1', 'photos.example')
    """
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if re.search(r":\d*$", host) else host


def _cors(origin: str, preflight: bool = False) -> dict[str, str]:
    if not origin:
        return {}
    headers = {
        "access-control-allow-origin": origin,
        "vary": "Origin",
        "access-control-expose-headers": "X-Request-Id, Retry-After, Location",
        "cross-origin-resource-policy": "cross-origin",
    }
    if preflight:
        headers["access-control-allow-methods"] = "GET, POST, DELETE"
        headers["access-control-allow-headers"] = "Authorization, Content-Type, X-Request-Id"
        headers["access-control-max-age"] = "600"
    return headers


def _protecting(send: Send, origin: str) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            for name, value in _cors(origin).items():
                headers[name] = value
        await send(message)

    return with_headers


def _problem(status: int, detail: str, extra: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    headers, body = problem(status, detail, request_id(), extra)
    return status, headers, body


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
