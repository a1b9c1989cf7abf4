"""`GET /`: the page for people, and its files under `/page`."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from diml.service.problems import RequestError

FOLDER = Path(__file__).parents[1] / "page"
KINDS = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FILES = {file.name: file for file in FOLDER.iterdir() if file.suffix in KINDS}

# Nothing from elsewhere, no script and no style in the page itself; pictures that need a token are blobs.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page_routes() -> APIRouter:
    """The page and its files; they hold no data, so they need no token."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    def page() -> Response:
        return _file("index.html")

    @router.get("/page/{file}")
    def asset(file: str) -> Response:
        return _file(file)

    return router


def _file(name: str) -> Response:
    if name not in FILES:
        raise RequestError(404, f"the page has no file {name[:100]!r}; open / instead")
    file = FILES[name]
    headers = {"cache-control": "no-cache", "content-security-policy": POLICY}
    return FileResponse(file, media_type=KINDS[file.suffix], headers=headers)
