"""`GET /docs`: the routes, to read and to try, without anything from elsewhere.

The page is Swagger UI, as the package fastapi-offline ships it; of that package only these files are used.
"""

from __future__ import annotations

import html
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import FileResponse, HTMLResponse, Response

OWN = Path(__file__).parents[1] / "api_page"
SHIPPED = ("swagger-ui.css", "swagger-ui-bundle.js")
ASSETS = ("start.css", "start.js", *SHIPPED)

# Swagger UI sets styles by script, which a policy does not govern, and needs no exception for them. It draws signs as
# data: images; blob: shows the pictures that an answer may be.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"content-security-policy": POLICY}

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{root}/docs/swagger-ui.css">
<link rel="stylesheet" href="{root}/docs/start.css">
<form id="ask" hidden>
  <label>This service needs a token: <input id="token" type="password" autocomplete="off" required></label>
  <button>Show the routes</button>
  <p id="problem" role="alert"></p>
</form>
<main id="routes" data-openapi="{root}{openapi}"></main>
<script src="{root}/docs/swagger-ui-bundle.js"></script>
<script src="{root}/docs/start.js"></script>
</html>
"""


def api_page_routes(title: str = "diml", openapi: str = "/openapi.json") -> APIRouter:
    """The page and its files.

    Args:
        title: of the page.
        openapi: where the description of the routes is.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    def page(request: Request) -> HTMLResponse:
        root = html.escape(request.scope.get("root_path", ""))
        text = PAGE.format(title=html.escape(title), root=root, openapi=html.escape(openapi))
        return HTMLResponse(text, headers={**HEADERS, "cache-control": "no-cache"})

    @router.get("/docs/{name}")
    def asset(name: str) -> Response:
        if name not in ASSETS:
            raise HTTPException(404)
        return FileResponse(_file(name), headers={**HEADERS, "cache-control": "max-age=3600"})

    return router


def _file(name: str) -> Path:
    if name not in SHIPPED:
        return OWN / name
    package = find_spec("fastapi_offline")  # found, but not imported
    assert package is not None
    assert package.submodule_search_locations is not None
    return Path(package.submodule_search_locations[0]) / "static" / name
