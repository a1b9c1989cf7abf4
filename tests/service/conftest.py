"""The service over small indices, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from diml.service import ServiceSettings, create_app

URL = "http://localhost"

Serve = Callable[..., TestClient]


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Start the service over indices; it is ready when it is returned."""
    with ExitStack() as stack:

        def start(*indexes: Path, **settings: object) -> TestClient:
            app = create_app(ServiceSettings.of(indexes=indexes, **{"backend": "torch", **settings}))
            client = stack.enter_context(TestClient(app, base_url=URL, raise_server_exceptions=False))
            wait_until_ready(client)
            return client

        yield start


@pytest.fixture(scope="module")
def client(serve: Serve, emoji_index: Path) -> TestClient:
    return serve(emoji_index, batch=1)


def wait_until_ready(client: TestClient) -> None:
    import time

    end = time.monotonic() + 120
    while "prepared" in (detail := client.get("/health").json().get("detail", "")) or "not been opened" in detail:
        assert time.monotonic() < end, detail
        time.sleep(0.05)
