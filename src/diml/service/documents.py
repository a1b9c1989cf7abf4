"""JSON answers: the documents of the command line, as they are."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response


def document(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer of JSON. Like the command line it writes names as they are, and what is no Unicode as `?`."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(
        text.encode("utf-8", "replace"), status, {"cache-control": "no-store", **(headers or {})}, "application/json"
    )
