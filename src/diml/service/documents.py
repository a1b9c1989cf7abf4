"""JSON answers: the documents of the command line, as they are."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from fastapi import Request, Response

JSON = "application/json"


def accepted(request: Request, kinds: Collection[str]) -> str:
    """The first of some media types that a request accepts; JSON where it names none of them."""
    for each in request.headers.get("accept", "").split(","):
        kind = each.partition(";")[0].strip().lower()
        if kind in kinds or kind == JSON:
            return kind
    return JSON


def document(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer of JSON. Like the command line it writes names as they are, and what is no Unicode as `?`."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(text.encode("utf-8", "replace"), status, {"cache-control": "no-store", **(headers or {})}, JSON)
