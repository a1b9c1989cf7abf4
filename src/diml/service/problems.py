"""Errors as problem documents (RFC 9457), with the sentence that the command line would print."""

from __future__ import annotations

import json
from http import HTTPStatus

from diml.errors import DimlError, ImageError, StoreError, UsageError

MEDIA_TYPE = "application/problem+json"
# Statuses in use that the standard does not name.
OTHER_TITLES = {499: "Client Closed Request"}


class RequestError(DimlError):
    """An error of a request that has a status of its own."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers or {}


def problem(
    status: int, detail: str, request_id: str, headers: dict[str, str] | None = None
) -> tuple[dict[str, str], bytes]:
    """The headers and the body of an answer that is an error.

    >>> problem(404, "there is no index cats; ask for /v1/indexes", "1")[1]
    b'{"type":"about:blank","title":"Not Found","status":404,"detail":"there is no index cats; ...","request_id":"1"}'
    """
    document = {
        "type": "about:blank",
        "title": OTHER_TITLES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": request_id,
    }
    body = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return {"content-type": MEDIA_TYPE, "cache-control": "no-store", **(headers or {})}, body


def status_of(error: DimlError) -> int:
    """The status of an error of the library.

    >>> status_of(UsageError("expected k >= 1, got 0")), status_of(StoreError("photos.diml was moved"))
    (422, 503)
    """
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, StoreError):
        return int(HTTPStatus.SERVICE_UNAVAILABLE)
    if isinstance(error, UsageError | ImageError):
        return int(HTTPStatus.UNPROCESSABLE_ENTITY)
    return int(HTTPStatus.INTERNAL_SERVER_ERROR)
