"""What the description of the routes shows as answers."""

from __future__ import annotations

from typing import Any

INDEXES = {
    "version": "0.1.0",
    "writable": False,
    "originals": False,
    "limits": {"k": 1000, "shortlist": 10000, "upload_bytes": 20000000, "pixels": 40000000},
    "indexes": [
        {"name": "photos", "status": "ready", "reason": None, "images": 240, "labels": 60, "grid": [4, 4]},
    ],
}
STATS = {"path": "photos.diml", "images": 240, "model": "lite0", "grid": [4, 4], "dim": 128, "labels": 60}
COLUMNS = {"columns": [{"name": "label", "distinct": 60, "values": [{"value": "cat", "count": 4}]}]}
ENTRY = {"id": "c20dca593997b815", "path": "cats/tom.jpg", "label": "cats", "columns": {}, "size": [640, 480]}
IMAGES = {"total": 240, "images": [ENTRY]}
HIT = {
    "rank": 1,
    "id": "c20dca593997b815",
    "path": "cats/tom.jpg",
    "label": "cats",
    "similarity": 0.71,
    "structural": 0.7,
    "pooled": 0.76,
    "pooled_rank": 2,
    "margin": 0.05,
    "concentration": 0.6,
    "size": [640, 480],
    "columns": {},
}
SEARCH = {
    "index": "photos",
    "query": "cat.jpg",
    "query_size": [640, 480],
    "where": None,
    "k": 10,
    "shortlist": 100,
    "hits": [HIT],
}
EXPLANATION = {
    "a": "cat.jpg",
    "b": "cats/tom.jpg",
    "model": "lite0",
    "grid": [4, 4],
    "similarity": 0.71,
    "regions": [{"kind": "region", "contribution": 0.5}],
    "matches": [{"a": [0, 0], "b": [1, 0], "mass": 0.05, "similarity": 0.8, "contribution": 0.03}],
}
EMBEDDING = {"grid": [4, 4], "dim": 128, "images": [{"name": "cat.jpg", "size": [640, 480], "map": [[0.1, -0.2]]}]}

JOB_STARTED = {"job": "5f0c2d8e9b7a4f6c8d1e2f3a4b5c6d7e"}
JOB = {
    "id": "5f0c2d8e9b7a4f6c8d1e2f3a4b5c6d7e",
    "index": "photos",
    "kind": "add",
    "state": "running",
    "done": 8,
    "total": 60,
    "report": None,
    "error": None,
}


PROBLEM = {
    "type": "about:blank",
    "title": "Unprocessable Entity",
    "status": 422,
    "detail": "expected k from 1 to 1000, got 5000",
    "request_id": "8c5f3cbe5a0e4a5c9a3d",
}

Described = dict[int | str, dict[str, Any]]


def shown(example: dict[str, Any], *kinds: str, status: int = 200) -> Described:
    """The description of a JSON answer by an example; `kinds` are the media types of other forms that it may have."""
    return {status: {"content": {"application/json": {"example": example}, **_binary(kinds)}}}


def files(*kinds: str) -> Described:
    """The description of an answer that is a file of one of these media types."""
    return {200: {"content": _binary(kinds)}}


def _binary(kinds: tuple[str, ...]) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}
