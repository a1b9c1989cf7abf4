"""A service in this process, and a browser that opens its page: nothing may be asked of anyone else, or go wrong."""

import shutil
import socket
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn

import diml
from diml.service import ServiceSettings, create_app
from tests.service.page.names import NAMES, SAMPLE

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PLAIN = ("1f332-evergreen-tree", "1f34f-green-apple", "1f337-tulip", "1f335-cactus", "1f350-pear")


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.skipif(BROWSER is None, reason="no Chromium here; apt-get install chromium"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Two indices, `photos` with 28 images and further columns, and `few`, and the pictures they were made of."""
    top = tmp_path_factory.mktemp("page")
    rows = ["path,label,designer,wing span"]
    names = NAMES | {
        f"{kind}/{by}": f"{kind}-{by}.png"
        for kind in PLAIN
        for by in ("noto", "twemoji", "openmoji", "fluent-emoji-flat")
    }
    for source, name in names.items():
        target = top / "pictures" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLE / "emoji" / f"{source}.png", target)
        (kind, designer), span = source.split("/"), "wide" if len(name) % 2 else "it's narrow"
        rows.append(f'"{name}",{kind.split("-", 1)[1]},{designer},{span}')
    (top / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    index = diml.Index.create(top / "photos.diml", "lite0")
    index.add(top / "pictures", labels_from=top / "labels.csv")
    shutil.copytree(top / "photos.diml", top / "few.diml")
    return top


@pytest.fixture(scope="session")
def index(folder):
    return diml.Index.open(folder / "photos.diml")


@contextmanager
def serving(*indexes, **settings):
    """The address of a service over these indices, in threads of this process, once it is ready."""
    app = create_app(ServiceSettings.of(indexes=indexes, backend="torch", decoders=1, **settings))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        try:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
            while not is_ready(address):
                assert thread.is_alive()
                time.sleep(0.02)
            yield address
        finally:
            server.should_exit = True
            thread.join(10)


def is_ready(address):
    try:
        with urllib.request.urlopen(address + "health", timeout=30) as answer:
            return answer.status == 200
    except urllib.error.URLError:
        return False


@pytest.fixture(scope="module")
def service(folder):
    """The address of a service with both indices; only while the tests of a file run."""
    with serving(folder / "photos.diml", folder / "few.diml") as address:
        yield address


@pytest.fixture(scope="module")
def locked_service(folder):
    """The address of a service that asks for a token, and the token."""
    token = "4f0d2c1b6a7e98d3-of-these-tests"
    token_file = folder / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(token + "\n")
    with serving(folder / "few.diml", token_file=token_file) as address:
        yield address, token


@pytest.fixture(scope="module")
def browser():
    """A browser that reaches this machine alone, whatever a page asks for; only while the tests of a file run."""
    sync_api = pytest.importorskip("playwright.sync_api")
    arguments = [
        "--no-sandbox",
        "--in-process-gpu",
        "--disable-gpu-compositing",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def contexts(browser):
    """Contexts of the browser by their settings: pages of one share its cache of pictures, but no storage."""
    made = {}

    def context(**settings):
        key = repr(sorted(settings.items()))
        if key not in made:
            made[key] = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        return made[key]

    return context


class Visitor:
    """A tab with the page of the service; `expected` are parts of the errors that the test causes."""

    def __init__(self, context, address):
        self.address, self.wrong, self.elsewhere, self.expected = address, [], [], ()
        self.context, self.page = context, context.new_page()
        self.page.on("console", lambda message: self.wrong.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._note)

    def _note(self, request):
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.elsewhere.append(request.url)

    def go(self, view=""):
        """Open the page at a view, and wait until it shows it."""
        self.page.goto(self.address + view)
        self.page.locator("#hits > li, #browse > li").first.wait_for(timeout=30_000)
        return self.page

    def close(self):
        self.page.close()
        assert self.elsewhere == []
        assert [text for text in self.wrong if not any(each in text for each in self.expected)] == []


@pytest.fixture
def visit(contexts, request):
    """Opens the page, with settings of the browser's context; at the end nothing must have gone wrong or elsewhere."""
    visitors = []

    def visit_page(address=None, **settings):
        address = address or request.getfixturevalue("service")
        visitors.append(Visitor(contexts(**settings), address))
        return visitors[-1]

    yield visit_page
    for visitor in visitors:
        visitor.close()


@pytest.fixture
def id_of(index):
    """The id of an image of the index by the end of its path."""
    entries = {entry.path: entry.id for entry in index}
    return lambda end: next(id for path, id in entries.items() if path.endswith(end))
