"""The page of the routes in a browser: nothing from elsewhere, nothing that its policy forbids."""

import shutil
import socket
import threading
import time

import pytest
import uvicorn
from fastapi import FastAPI, Header, Response
from starlette.testclient import TestClient

from diml.service.routes.api_page import ASSETS, api_page_routes

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
TOKEN = "a-token"


def make_app(token=None):
    app = FastAPI(title="test", docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(api_page_routes())

    @app.get("/v1/things/{name}")
    def thing(name: str, authorization: str = Header("none", include_in_schema=False)) -> dict[str, str]:
        """One thing."""
        return {"name": name, "authorization": authorization}

    @app.post("/v1/picture", response_class=Response, responses={200: {"content": {"image/png": {}}}})
    def picture() -> Response:
        """A picture."""
        return Response(b"", media_type="image/png")

    @app.get("/openapi.json", include_in_schema=False)
    def openapi(authorization: str = Header("")) -> Response:
        allowed = token is None or authorization == f"Bearer {token}"
        return app_openapi(app) if allowed else Response(status_code=401)

    return app


def app_openapi(app):
    from fastapi.responses import JSONResponse

    return JSONResponse(app.openapi())


def test_every_file_of_the_page_is_there_and_nothing_else_of_the_folder():
    client = TestClient(make_app())
    page = client.get("/docs")
    assert page.status_code == 200
    assert "<script>" not in page.text
    for name in ASSETS:
        assert f"/docs/{name}" in page.text
        assert client.get(f"/docs/{name}").status_code == 200
    for name in ("redoc.standalone.js", "..%2f__init__.py", "__init__.py"):
        assert client.get(f"/docs/{name}").status_code == 404


def test_the_policy_forbids_scripts_in_the_page_and_everything_from_elsewhere():
    policy = TestClient(make_app()).get("/docs").headers["content-security-policy"]
    directives = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == "'self'"
    assert "http" not in policy
    assert "unsafe-eval" not in policy


@pytest.fixture
def serve():
    """Serves an application on loopback until the end of the test."""
    servers = []

    def start(app):
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def opened(serve):
    """Opens the page; at the end of the test nothing must have been asked of elsewhere, and nothing forbidden."""
    sync_api = pytest.importorskip("playwright.sync_api")
    wrong = []
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = chromium.new_page()
        page.set_default_timeout(5000)

        def open_page(app):
            address = serve(app)
            page.on("console", lambda said: "status of 401" in said.text or wrong.append(said.text))
            page.on("pageerror", lambda error: wrong.append(str(error)))
            page.on("request", lambda asked: asked.url.startswith((address, "data:")) or wrong.append(asked.url))
            page.goto(f"{address}/docs")
            return page

        yield open_page
        chromium.close()
    assert wrong == []


in_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium here; apt-get install chromium"),
]


class TestInTheBrowser:
    pytestmark = in_browser

    def test_a_route_can_be_tried(self, opened):
        page = opened(make_app())
        page.get_by_text("/v1/things").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_placeholder("name").fill("cat")
        page.get_by_role("button", name="Execute").click()
        page.locator(".live-responses-table").get_by_text('"name": "cat"').wait_for()
        page.locator(".models, .model-box").first.scroll_into_view_if_needed()

    def test_a_service_with_a_token_is_shown_after_it_was_given(self, opened):
        page = opened(make_app(TOKEN))
        page.get_by_label("needs a token").fill("wrong")
        page.get_by_role("button", name="Show the routes").click()
        page.get_by_text("This is not the token of the service.").wait_for()
        page.get_by_label("needs a token").fill(TOKEN)
        page.keyboard.press("Enter")
        page.get_by_text("/v1/things").first.click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_placeholder("name").fill("cat")
        page.get_by_role("button", name="Execute").click()
        page.locator(".live-responses-table").get_by_text(f"Bearer {TOKEN}").first.wait_for()
